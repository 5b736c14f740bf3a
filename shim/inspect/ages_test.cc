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
  const SocketAges ages{processes, {inode_of(other.get()), inode, inode}};
  REQUIRE(ages.of(inode));
  CHECK(*ages.of(inode) >= 0);
  CHECK(*ages.of(inode) < 60);
  CHECK(!ages.of(inode + 1000));
  CHECK(!SocketAges(processes, {}).of(inode));
  CHECK(!SocketAges({}, {inode}).of(inode));
}

TEST_CASE("a socket is found whoever has it, and under any number") {
  const UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  REQUIRE(socket.valid());
  timespec times[] = {{1000, 0}, {1000, 0}};
  REQUIRE(::futimens(socket.get(), times) == 0);
  const UniqueFd twice{::dup(socket.get())};
  const std::array<pid_t, 2> processes{::getpid(), ::getpid()};
  const SocketAges ages{processes, {inode_of(socket.get())}};
  REQUIRE(ages.of(inode_of(socket.get())));
  CHECK(*ages.of(inode_of(socket.get())) > 1'000'000'000);
}
