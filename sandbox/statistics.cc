#include "sandbox/statistics.h"

#include <algorithm>
#include <bit>

namespace shunt::sandbox {

std::string_view name(Ending ending) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(Ending::kCount)> kNames{
      "returned", "failed", "installed", "replaced", "kernel", "gone"};
  return kNames[static_cast<std::size_t>(ending)];
}

std::string_view name(Path path) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(Path::kCount)> kNames{
      "upgraded",         "no-candidate",
      "other-namespace",  "unusual-option",
      "connect-failed",   "slow-handshake",
      "loopback-off",     "self-connect",
      "no-local-pod",     "translated",
      "not-at-server",    "not-published",
      "mailbox-full",     "name-in-use",
      "name-too-long",    "server-went-ahead",
      "too-many-threads", "shared-socket",
      "interrupted",      "supervisor-error",
      "accepted-fast",    "accepted-from-outside",
      "accepted-kernel"};
  return kNames[static_cast<std::size_t>(path)];
}

void Statistics::count_latency(std::chrono::nanoseconds taken) {
  const auto quarters = static_cast<std::uint64_t>(taken.count() < 0 ? 0 : taken.count()) / 250;
  const auto bucket =
      std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(quarters)), kBuckets - 1);
  add(latency_[bucket]);
}

}  // namespace shunt::sandbox
