#include "sandbox/host_sockets.h"

#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>

#include "sandbox/living.h"
#include "sandbox/socket_notes.h"

namespace shunt::sandbox {
namespace {

constexpr std::size_t kFirstSweep = 256;

}  // namespace

HostSockets::HostSockets() : living_{::epoll_create1(EPOLL_CLOEXEC)}, sweep_at_{kFirstSweep} {}

bool HostSockets::add(int socket, const local::FastSocket& stands_for) {
  const auto cookie = socket_cookie(socket);
  if (!cookie) return false;
  epoll_event event{};  // no events: it only has to be listed
  event.data.u64 = *cookie;
  const std::lock_guard guard{mutex_};
  if (::epoll_ctl(living_.get(), EPOLL_CTL_ADD, socket, &event) < 0) return false;
  struct stat info {};
  ::fstat(socket, &info);
  sockets_[*cookie] = {stands_for, static_cast<std::uint32_t>(info.st_ino)};
  if (sockets_.size() >= sweep_at_) sweep();
  return true;
}

std::optional<local::FastSocket> HostSockets::find(int socket) const {
  const auto cookie = socket_cookie(socket);
  if (!cookie) return std::nullopt;
  const std::lock_guard guard{mutex_};
  const auto found = sockets_.find(*cookie);
  if (found == sockets_.end()) return std::nullopt;
  return found->second.stands_for;
}

std::vector<HostSockets::Entry> HostSockets::all() {
  const std::lock_guard guard{mutex_};
  sweep();
  std::vector<Entry> result;
  result.reserve(sockets_.size());
  for (const auto& [cookie, entry] : sockets_) result.push_back(entry);
  return result;
}

// Each takes time in proportion to the entries, and comes when there are twice as many as lived at
// the last one.
void HostSockets::sweep() {
  const auto alive = living(living_.get());
  if (!alive) return;
  std::erase_if(sockets_, [&](const auto& entry) { return !alive->contains(entry.first); });
  sweep_at_ = std::max(kFirstSweep, sockets_.size() * 2);
}

}  // namespace shunt::sandbox
