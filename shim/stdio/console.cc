#include "shim/stdio/console.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "shim/files.h"

namespace shunt {

Result<ConsoleSocket> ConsoleSocket::listen(const std::string& directory) {
  static unsigned counter = 0;  // with our pid: unique among live shims
  if (const Status made = make_directories(directory, 0700); !made) return made.error();
  std::string path =
      directory + "/pty" + std::to_string(::getpid()) + "." + std::to_string(++counter);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error{ENAMETOOLONG, "console socket"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return last_error("bind");
  if (::chmod(path.c_str(), 0600) < 0 || ::listen(fd.get(), 1) < 0) return last_error("listen");
  return ConsoleSocket{std::move(path), std::move(fd)};
}

ConsoleSocket::~ConsoleSocket() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Co<Result<UniqueFd>> ConsoleSocket::receive(EventLoop& loop, std::chrono::nanoseconds timeout) {
  const auto deadline = EventLoop::Clock::now() + timeout;
  std::uint32_t events = co_await loop.ready(listener_.get(), EPOLLIN, deadline);
  if (events == 0) co_return Error{ETIMEDOUT, "accept"};
  const UniqueFd connection{
      ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!connection.valid()) co_return last_error("accept");
  events = co_await loop.ready(connection.get(), EPOLLIN, deadline);
  if (events == 0) co_return Error{ETIMEDOUT, "recvmsg"};
  std::array<char, 4096> name;  // NOLINT: the pty's name, not needed
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  iovec bytes{name.data(), name.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(connection.get(), &message, MSG_CMSG_CLOEXEC) <= 0) co_return last_error("recvmsg");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
    co_return Error{EPROTO, "recvmsg"};
  int master = -1;
  std::memcpy(&master, CMSG_DATA(header), sizeof master);
  co_return UniqueFd{master};
}

}  // namespace shunt
