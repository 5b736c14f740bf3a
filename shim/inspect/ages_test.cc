#include "shim/inspect/ages.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "netstack/base/unique_fd.h"
#include "netstack/local/fast_socket.h"

using namespace shunt;

namespace {

std::uint32_t inode_of(int fd) {
  struct stat status {};
  REQUIRE(::fstat(fd, &status) == 0);
  return static_cast<std::uint32_t>(status.st_ino);
}

}  // namespace

TEST_CASE("a stamped socket has an age") {
  std::array<int, 2> ends{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const UniqueFd stamped{ends[0]};
  const UniqueFd other{ends[1]};
  local::stamp(stamped.get());
  const std::array<pid_t, 2> processes{1 << 22, ::getpid()};  // the first is nobody's
  const std::uint32_t inode = inode_of(stamped.get());
  const auto ages = socket_ages(processes, {inode});
  REQUIRE(ages.size() == 1);
  CHECK(ages.begin()->first == inode);
  CHECK(ages.begin()->second < 60);
  CHECK(socket_ages(processes, {}).empty());
}
