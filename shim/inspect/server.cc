#include "shim/inspect/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include "shim/socket.h"
#include "shim/ttrpc/server.h"

namespace shunt {
namespace {
constexpr std::size_t kMaxReaders = 16;
}

std::string inspect_directory(const std::string& state) { return state + "/inspect"; }
std::string inspect_socket(const std::string& state, const std::string& pod_id) {
  return inspect_directory(state) + "/" + pod_id;
}

InspectServer::InspectServer(EventLoop& loop, std::function<std::string()> document)
    : loop_{loop}, document_{std::move(document)} {}

InspectServer::~InspectServer() {
  loop_.forget(watch_);
  for (const auto& [fd, reader] : readers_) loop_.forget(reader.watch);
  if (listener_.valid()) ::unlink(path_.c_str());
}

Status InspectServer::listen(const std::string& path) {
  path_ = path;
  auto claimed = claim_socket(path_);
  if (!claimed) return claimed.error();
  if (!claimed->listener.valid()) return Error{EADDRINUSE, "bind"};
  listener_ = std::move(claimed->listener);
  const auto token =
      loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_ready(); });
  if (!token) return token.error();
  watch_ = *token;
  return Done{};
}

void InspectServer::accept_ready() {
  UniqueFd socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket.valid() || !ttrpc::peer_is_us(socket.get()) || readers_.size() >= kMaxReaders) return;
  const int fd = socket.get();
  Reader& reader = readers_[fd] = Reader{std::move(socket), document_()};
  const auto token = loop_.watch(fd, EPOLLOUT, [this, fd](std::uint32_t) { write_to(fd); });
  if (!token) return drop(fd);
  reader.watch = *token;
}

void InspectServer::write_to(int fd) {
  const auto it = readers_.find(fd);
  if (it == readers_.end()) return;
  std::string& rest = it->second.rest;
  const ssize_t n = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return drop(fd);
  rest.erase(0, static_cast<std::size_t>(n));
  if (rest.empty()) drop(fd);
}

void InspectServer::drop(int fd) {
  const auto it = readers_.find(fd);
  if (it == readers_.end()) return;
  loop_.forget(it->second.watch);
  readers_.erase(it);
}

}  // namespace shunt
