#include "sandbox/socket_notes.h"

#include <sys/socket.h>

#include <algorithm>

namespace shunt::sandbox {

Result<std::uint64_t> socket_cookie(int socket) {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0)
    return last_error("SO_COOKIE");
  return cookie;
}

std::shared_ptr<const SocketOptions> SocketNotes::shared(SocketOptions options) {
  if (auto known = known_[options].lock()) return known;
  auto fresh = std::make_shared<const SocketOptions>(std::move(options));
  if (known_.size() > 256)
    std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
  known_[*fresh] = fresh;
  return fresh;
}

void SocketNotes::store(std::uint64_t cookie, std::shared_ptr<const SocketOptions> options) {
  if (notes_.insert_or_assign(cookie, std::move(options)).second) order_.push_back(cookie);
  while (order_.size() > kMost) {
    notes_.erase(order_.front());
    order_.pop_front();
  }
}

void SocketNotes::set(std::uint64_t cookie, SocketOption option) {
  const std::lock_guard guard{mutex_};
  const auto found = notes_.find(cookie);
  SocketOptions options = found == notes_.end() ? SocketOptions{} : *found->second;
  std::erase_if(options, [&](const SocketOption& old) {
    return old.level == option.level && old.name == option.name;
  });
  options.push_back(std::move(option));
  store(cookie, shared(std::move(options)));
}

std::shared_ptr<const SocketOptions> SocketNotes::get(std::uint64_t cookie) const {
  static const auto none = std::make_shared<const SocketOptions>();
  const std::lock_guard guard{mutex_};
  const auto found = notes_.find(cookie);
  return found == notes_.end() ? none : found->second;
}

void SocketNotes::put(std::uint64_t cookie, std::shared_ptr<const SocketOptions> options) {
  if (options->empty()) return;
  const std::lock_guard guard{mutex_};
  store(cookie, std::move(options));
}

void SocketNotes::forget(std::uint64_t cookie) {
  const std::lock_guard guard{mutex_};
  notes_.erase(cookie);  // its place in the order expires by itself
}

void UnheardConnects::add(std::uint64_t cookie) {
  const std::lock_guard guard{mutex_};
  if (!cookies_.insert(cookie).second) return;
  order_.push_back(cookie);
  if (order_.size() <= kMost) return;
  cookies_.erase(order_.front());
  order_.pop_front();
}

bool UnheardConnects::take(std::uint64_t cookie) {
  const std::lock_guard guard{mutex_};
  return cookies_.erase(cookie) > 0;  // its place in the order expires by itself
}

}  // namespace shunt::sandbox
