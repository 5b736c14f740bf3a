#include "shim/inspect/server.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string_view>
#include <system_error>

#include "netstack/base/unix_socket.h"
#include "shim/socket.h"
#include "shim/ttrpc/server.h"

namespace shunt {
namespace {

constexpr std::size_t kMaxReaders = 16;
constexpr std::string_view kAsksForHead = "shunt-inspect-head:";

/// An abstract name (unix(7)) that begins so and is nobody else's.
Status name_after(int socket, std::string_view beginning) {
  for (unsigned number = 0;; ++number) {
    const std::string name = std::string{beginning} + std::to_string(::getpid()) + "-" +
                             std::to_string(::gettid()) + "-" + std::to_string(number);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), length) == 0) return Done{};
    // Another one's, whose numbers of processes are not ours.
    if (errno != EADDRINUSE || number == 1000) return last_error("bind");
  }
}

}  // namespace

std::string inspect_directory(const std::string& state) { return state + "/inspect"; }
std::string inspect_socket(const std::string& state, const std::string& pod_id) {
  return inspect_directory(state) + "/" + pod_id;
}

Result<UniqueFd> connect_inspect(const std::string& path, InspectWish wish) {
  const auto address = unix_address(path);
  if (!address) return address.error();
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd.valid()) return last_error("socket");
  if (wish == InspectWish::kHead)
    if (const Status named = name_after(fd.get(), kAsksForHead); !named) return named.error();
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) < 0)
    return last_error("connect");
  return fd;
}

InspectServer::InspectServer(EventLoop& loop, Source source)
    : loop_{loop}, source_{std::move(source)} {}

InspectServer::~InspectServer() {
  if (maker_.joinable()) maker_.join();
  loop_.forget(watch_);
  loop_.forget(made_watch_);
  for (const auto& [fd, reader] : readers_) loop_.forget(reader.watch);
  if (listener_.valid()) ::unlink(path_.c_str());
}

Status InspectServer::listen(const std::string& path) {
  path_ = path;
  auto claimed = claim_socket(path_);
  if (!claimed) return claimed.error();
  if (!claimed->listener.valid()) return Error{EADDRINUSE, "bind"};
  listener_ = std::move(claimed->listener);
  made_ = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!made_.valid()) return last_error("eventfd");
  const auto made_token = loop_.watch(made_.get(), EPOLLIN, [this](std::uint32_t) { made(); });
  if (!made_token) return made_token.error();
  made_watch_ = *made_token;
  const auto token =
      loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_ready(); });
  if (!token) return token.error();
  watch_ = *token;
  return Done{};
}

void InspectServer::accept_ready() {
  sockaddr_un asking{};
  socklen_t length = sizeof asking;
  UniqueFd socket{::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&asking), &length,
                            SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket.valid() || !ttrpc::peer_is_us(socket.get()) || readers_.size() >= kMaxReaders) return;
  const int fd = socket.get();
  readers_[fd].socket = std::move(socket);
  if (std::string_view{asking.sun_path + 1, sizeof asking.sun_path - 1}.starts_with(kAsksForHead))
    return answer(fd, source_.head());
  waiting_.push_back(fd);
  if (waiting_.size() == 1) make_next();
}

void InspectServer::make_next() {
  Document document = source_.prepare();
  try {
    maker_ = std::thread{[this, document] {
      text_ = document();
      ::eventfd_write(made_.get(), 1);
    }};
  } catch (const std::system_error&) {  // no more threads allowed: then here
    text_ = document();
    ::eventfd_write(made_.get(), 1);
  }
}

void InspectServer::made() {
  eventfd_t count = 0;
  if (::eventfd_read(made_.get(), &count) < 0) return;
  if (maker_.joinable()) maker_.join();
  const int fd = waiting_.front();
  waiting_.pop_front();
  answer(fd, std::exchange(text_, {}));
  if (!waiting_.empty()) make_next();
}

void InspectServer::answer(int fd, std::string text) {
  readers_[fd].text = std::move(text);
  const auto token = loop_.watch(fd, EPOLLOUT, [this, fd](std::uint32_t) { write_to(fd); });
  if (!token) return drop(fd);
  readers_[fd].watch = *token;
}

void InspectServer::write_to(int fd) {
  const auto it = readers_.find(fd);
  if (it == readers_.end()) return;
  Reader& reader = it->second;
  const std::string_view rest = std::string_view{reader.text}.substr(reader.sent);
  const ssize_t n = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return drop(fd);
  reader.sent += static_cast<std::size_t>(n);
  if (reader.sent == reader.text.size()) drop(fd);
}

void InspectServer::drop(int fd) {
  const auto it = readers_.find(fd);
  if (it == readers_.end()) return;
  loop_.forget(it->second.watch);
  readers_.erase(it);
}

}  // namespace shunt
