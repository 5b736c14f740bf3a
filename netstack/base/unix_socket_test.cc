#include "netstack/base/unix_socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

using namespace shunt;

namespace {

struct Folder {
  Folder() { REQUIRE(::mkdtemp(name.data()) != nullptr); }
  ~Folder() {
    ::unlink(socket().c_str());
    ::rmdir(name.c_str());
  }
  std::string socket() const { return name + "/s"; }
  std::string name = "/tmp/shunt-unix-XXXXXX";
};

}  // namespace

TEST_CASE("a listener is its owner's alone and is not replaced by another") {
  const Folder folder;
  const auto first = listen_unix(folder.socket(), 4);
  REQUIRE(first);
  struct stat status {};
  REQUIRE(::stat(folder.socket().c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  const auto second = listen_unix(folder.socket(), 4);
  REQUIRE(!second);
  CHECK(second.error().number == EADDRINUSE);
}

TEST_CASE("connecting reaches the listener, and says why it does not") {
  const Folder folder;
  CHECK(connect_unix(folder.socket(), 0).error().number == ENOENT);
  {
    const auto listener = listen_unix(folder.socket(), 4);
    REQUIRE(listener);
    CHECK(connect_unix(folder.socket(), SOCK_NONBLOCK));
  }
  CHECK(connect_unix(folder.socket(), 0).error().number == ECONNREFUSED);
  CHECK(connect_unix("", 0).error().number == ENAMETOOLONG);
  CHECK(connect_unix(std::string(108, 'x'), 0).error().number == ENAMETOOLONG);
}

TEST_CASE("a descriptor passed on is the same file, closed on exec") {
  std::array<int, 2> ends{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
  const UniqueFd left{ends[0]};
  const UniqueFd right{ends[1]};
  REQUIRE(send_descriptor(left.get(), left.get()));
  const auto received = receive_descriptor(right.get());
  REQUIRE(received);
  struct stat one {};
  struct stat two {};
  REQUIRE(::fstat(left.get(), &one) == 0);
  REQUIRE(::fstat(received->get(), &two) == 0);
  CHECK(one.st_ino == two.st_ino);
  CHECK(::fcntl(received->get(), F_GETFD) == FD_CLOEXEC);

  REQUIRE(::write(left.get(), "x", 1) == 1);
  CHECK(receive_descriptor(right.get()).error().number == EPROTO);
}
