#include "shim/stdio/console.h"

#include <sys/socket.h>
#include <unistd.h>

#include "netstack/base/unix_socket.h"
#include "shim/files.h"

namespace shunt {

Result<ConsoleSocket> ConsoleSocket::listen(const std::string& directory) {
  static unsigned counter = 0;  // with our pid: unique among live shims
  if (const Status made = make_directories(directory, 0700); !made) return made.error();
  std::string path =
      directory + "/pty" + std::to_string(::getpid()) + "." + std::to_string(++counter);
  ::unlink(path.c_str());  // of a shim that died with our pid
  auto listener = listen_unix(path, 1);
  if (!listener) return listener.error();
  return ConsoleSocket{std::move(path), std::move(*listener)};
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
  co_return receive_descriptor(connection.get());  // with the pty's name, which is not needed
}

}  // namespace shunt
