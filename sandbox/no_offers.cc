#include "sandbox/no_offers.h"

#include <algorithm>

namespace shunt::sandbox {
namespace {

constexpr std::chrono::seconds kLife{2};
constexpr std::chrono::milliseconds kSoon{20};
constexpr std::size_t kMost = 1024;
constexpr std::ptrdiff_t kMostOfOne = 64;

}  // namespace

void NoOffers::add(const IpAddress& client, const Endpoint& server, Clock::time_point now) {
  const auto known = until_.find({client, server});
  if (known != until_.end()) {
    known->second = now + kLife;
    return;
  }
  const auto full = [&] {
    const auto first = until_.lower_bound({client, {}});
    const auto of_client = std::find_if(
        first, until_.end(), [&](const auto& entry) { return entry.first.first != client; });
    return until_.size() >= kMost || std::distance(first, of_client) >= kMostOfOne;
  };
  if (full()) std::erase_if(until_, [&](const auto& entry) { return entry.second < now; });
  if (!full()) until_[{client, server}] = now + kLife;
}

bool NoOffers::holds(const IpAddress& client, const Endpoint& server, Clock::time_point now) const {
  if (until_.empty()) return false;
  const auto found = until_.find({client, server});
  return found != until_.end() && now < found->second;
}

void NoOffers::end_soon(const IpAddress& client, const Endpoint& server, Clock::time_point now) {
  const auto found = until_.find({client, server});
  if (found == until_.end()) return;
  found->second = std::min(found->second, now + kSoon);
  if (found->second <= now) until_.erase(found);
}

}  // namespace shunt::sandbox
