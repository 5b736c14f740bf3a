#include "netstack/local/private_net.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "netstack/base/netns.h"

using namespace shunt;
using namespace shunt::local;

namespace {

/// Least, first and most bytes of a TCP send buffer in the thread's namespace.
std::array<long, 3> send_buffers() {
  std::array<long, 3> sizes{};
  std::ifstream file{"/proc/sys/net/ipv4/tcp_wmem"};
  for (long& size : sizes) file >> size;
  REQUIRE(static_cast<bool>(file));
  return sizes;
}

}  // namespace

TEST_CASE("TCP send buffers of the private namespace stay within reach of a cache") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root");
    return;
  }
  std::string folder = "/tmp/shunt-private-net-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  {
    const auto table = std::move(*NodeTable::open(folder));
    const auto guard = table->lock();
    const auto usual = send_buffers();
    const auto made = join_private_net(*table);
    REQUIRE(made);
    const InNetns inside{made->get()};
    REQUIRE(inside.entered());
    const auto bounded = send_buffers();
    CHECK(bounded[0] == usual[0]);
    CHECK(bounded[1] == usual[1]);
    CHECK(bounded[2] == std::min(usual[2], 1L << 20U));
  }
  std::filesystem::remove_all(folder);
}
