#include "sandbox/profile/receive.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>

namespace shunt::sandbox {
namespace {

const std::string kMessage =
    R"({"ociVersion":"0.2.0","fds":["seccompFd"],"pid":4242,"metadata":"pod",)"
    R"("state":{"ociVersion":"0.2.0","id":"c1","status":"creating","pid":4242,"bundle":"/b"}})";

struct Connection {
  UniqueFd runtime;
  ListenerReceiver receiver;
};

Connection connection() {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  return {UniqueFd{ends[0]}, ListenerReceiver{UniqueFd{ends[1]}}};
}

void send_with(int socket, std::string_view text, const std::vector<int>& fds) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) std::array<char, 512> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  REQUIRE(::sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

ino_t inode(int fd) {
  struct stat info {};
  REQUIRE(::fstat(fd, &info) == 0);
  return info.st_ino;
}

/// An open file to pass around, and how to tell whether every copy of it is closed.
struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    read = UniqueFd{ends[0]};
    write = UniqueFd{ends[1]};
  }
  bool write_end_gone() {
    write.reset();
    char byte = 0;
    return ::read(read.get(), &byte, 1) == 0;
  }
  UniqueFd read;
  UniqueFd write;
};

TEST_CASE("a message in one piece gives the descriptor and the state") {
  Connection c = connection();
  Pipe pipe;
  send_with(c.runtime.get(), kMessage, {pipe.read.get()});
  auto done = c.receiver.on_readable();
  REQUIRE(done);
  REQUIRE(done->has_value());
  const ReceivedListener& listener = **done;
  CHECK(inode(listener.notify.get()) == inode(pipe.read.get()));
  CHECK((::fcntl(listener.notify.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(listener.state.pid == 4242);
  CHECK(listener.state.container_id == "c1");
  CHECK(listener.state.status == "creating");
  CHECK(listener.state.bundle == "/b");
  CHECK(listener.state.metadata == "pod");
}

TEST_CASE("the end of the connection counts as the end of the message") {
  Connection c = connection();
  Pipe pipe;
  send_with(c.runtime.get(), kMessage + "\n", {pipe.read.get()});
  c.runtime.reset();
  auto done = c.receiver.on_readable();
  REQUIRE(done);
  CHECK(done->has_value());
}

TEST_CASE("a message in pieces, each read as it comes") {
  Connection c = connection();
  Pipe pipe;
  send_with(c.runtime.get(), kMessage.substr(0, 1), {pipe.read.get()});
  for (std::size_t i = 1; i < kMessage.size(); i += 7) {
    auto more = c.receiver.on_readable();
    REQUIRE(more);
    REQUIRE_FALSE(more->has_value());
    send_with(c.runtime.get(), std::string_view(kMessage).substr(i, 7), {});
  }
  auto done = c.receiver.on_readable();
  REQUIRE(done);
  CHECK(done->has_value());
}

TEST_CASE("among several descriptors the named one is taken and the others are closed") {
  std::string message = kMessage;
  message.replace(message.find("[\"seccompFd\"]"), 13, R"(["a","seccompFd","b"])");
  Connection c = connection();
  Pipe wanted;
  Pipe other;
  send_with(c.runtime.get(), message, {other.write.get(), wanted.read.get(), other.write.get()});
  c.runtime.reset();
  auto done = c.receiver.on_readable();
  REQUIRE(done);
  REQUIRE(done->has_value());
  CHECK(inode((*done)->notify.get()) == inode(wanted.read.get()));
  CHECK(other.write_end_gone());
}

TEST_CASE("descriptors sent after the first piece are closed and change nothing") {
  Connection c = connection();
  Pipe wanted;
  Pipe late;
  send_with(c.runtime.get(), kMessage.substr(0, 10), {wanted.read.get()});
  send_with(c.runtime.get(), kMessage.substr(10), {late.write.get()});
  c.runtime.reset();
  auto done = c.receiver.on_readable();
  REQUIRE(done);
  REQUIRE(done->has_value());
  CHECK(late.write_end_gone());
}

TEST_CASE("a long message is read whole, an endless one is refused") {
  Connection c = connection();
  Pipe pipe;
  std::string message = kMessage;
  SUBCASE("300 KiB of annotations") {
    message.insert(message.find("\"bundle\""),
                   "\"annotations\":{\"a\":\"" + std::string(300 << 10, 'x') + "\"},");
    send_with(c.runtime.get(), message.substr(0, 100), {pipe.read.get()});
    for (std::size_t i = 100; i < message.size(); i += 60000) {
      auto more = c.receiver.on_readable();
      REQUIRE(more);
      REQUIRE_FALSE(more->has_value());
      send_with(c.runtime.get(), std::string_view(message).substr(i, 60000), {});
    }
    auto done = c.receiver.on_readable();
    REQUIRE(done);
    CHECK(done->has_value());
  }
  SUBCASE("without end") {
    const std::string part(60000, 'x');
    Status over = Done{};
    for (std::size_t sent = 0; over && sent <= 2 * ListenerReceiver::kMaxMessage;
         sent += part.size()) {
      send_with(c.runtime.get(), part, {});
      auto read = c.receiver.on_readable();
      if (!read) over = read.error();
    }
    REQUIRE_FALSE(over);
    CHECK(over.error().number == EMSGSIZE);
  }
}

TEST_CASE("what is no such message is EPROTO, and its descriptor is closed") {
  std::string message = kMessage;
  std::vector<int> copies(1);
  Pipe pipe;
  SUBCASE("nothing at all") { message.clear(); }
  SUBCASE("cut off") { message.pop_back(); }
  SUBCASE("no descriptor came") { copies.clear(); }
  SUBCASE("more descriptors than named") { copies.resize(2); }
  SUBCASE("pid zero") { message.replace(message.find("4242"), 4, "0"); }
  SUBCASE("pid negative") { message.replace(message.find("4242"), 4, "-2"); }
  SUBCASE("pid beyond pid_t") { message.replace(message.find("4242"), 4, "4294967296"); }
  SUBCASE("another descriptor name") { message.replace(message.find("seccompFd"), 9, "otherFd"); }
  SUBCASE("no state") { message.replace(message.find("\"state\""), 7, "\"stale\""); }
  {
    Connection c = connection();
    std::fill(copies.begin(), copies.end(), pipe.write.get());
    if (!message.empty()) send_with(c.runtime.get(), message, copies);
    c.runtime.reset();
    const auto done = c.receiver.on_readable();
    REQUIRE_FALSE(done);
    CHECK(done.error().number == EPROTO);
  }
  CHECK(pipe.write_end_gone());
}

TEST_CASE("a whole message that makes no sense is an error even if the connection stays open") {
  Connection c = connection();
  send_with(c.runtime.get(), kMessage, {});
  const auto done = c.receiver.on_readable();
  REQUIRE_FALSE(done);
  CHECK(done.error().number == EPROTO);
}

TEST_CASE("descriptors that did not fit are EMFILE") {
  Connection c = connection();
  Pipe pipe;
  send_with(c.runtime.get(), kMessage, std::vector<int>(40, pipe.read.get()));
  const auto done = c.receiver.on_readable();
  REQUIRE_FALSE(done);
  CHECK(done.error().number == EMFILE);
}

}  // namespace
}  // namespace shunt::sandbox
