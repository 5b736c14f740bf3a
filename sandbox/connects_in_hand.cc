#include "sandbox/connects_in_hand.h"

#include <algorithm>

namespace shunt::sandbox {

ConnectsInHand::Hold ConnectsInHand::take(std::uint64_t cookie, const CallId& call,
                                          const Arguments& arguments) {
  const std::lock_guard guard{mutex_};
  const auto [entry, fresh] = sockets_.try_emplace(cookie);
  if (fresh) return {this, cookie};
  std::vector<Kept>& kept = entry->second;
  std::erase_if(kept, [](const Kept& older) { return !older.call.waiting(); });
  kept.push_back({call, arguments});
  return {};
}

std::optional<CallId> ConnectsInHand::Hold::successor(const CallId& call, int number) {
  if (all_ == nullptr) return std::nullopt;
  const std::lock_guard guard{all_->mutex_};
  std::vector<Kept>& kept = all_->sockets_.at(cookie_);
  const auto found = std::find_if(kept.begin(), kept.end(), [&](const Kept& later) {
    return later.call.tid == call.tid && static_cast<int>(later.arguments[0]) == number &&
           later.call.waiting();
  });
  if (found == kept.end()) return std::nullopt;
  CallId next = std::move(found->call);
  kept.erase(found);
  return next;
}

void ConnectsInHand::Hold::release() {
  ConnectsInHand* const all = std::exchange(all_, nullptr);
  if (all == nullptr) return;
  std::vector<Kept> kept;
  {
    const std::lock_guard guard{all->mutex_};
    const auto found = all->sockets_.find(cookie_);
    kept = std::move(found->second);
    all->sockets_.erase(found);
  }
  for (Kept& each : kept) all->again_(std::move(each.call), each.arguments);
}

}  // namespace shunt::sandbox
