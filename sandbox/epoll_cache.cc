#include "sandbox/epoll_cache.h"

#include <algorithm>

namespace shunt::sandbox {

std::vector<local::EpollEntry> EpollCache::registrations(pid_t tid, int watched,
                                                         std::size_t count) {
  if (count > 0 && count <= kFew)
    if (auto exact = local::all_registrations(tid, watched, count)) return std::move(*exact);
  const auto now = std::chrono::steady_clock::now();
  std::vector<int> epolls;
  {
    const std::lock_guard guard{mutex_};
    const auto found = known_.find(tid);
    if (found != known_.end() && now < found->second.fresh_until)
      return local::find_registrations(tid, found->second.epolls, watched);
  }
  epolls = local::find_epolls(tid);
  const std::lock_guard guard{mutex_};
  if (known_.size() >= kMost) known_.clear();
  const auto done = std::chrono::steady_clock::now();
  known_[tid] = {epolls, done + std::max<std::chrono::nanoseconds>(kFresh, kDear * (done - now))};
  return local::find_registrations(tid, epolls, watched);
}

}  // namespace shunt::sandbox
