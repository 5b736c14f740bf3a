// Two movers joined with each other on one device, for tests: the fake one, or the first real one
// of this machine.
#pragma once

#include <memory>

#include "netstack/verbs/device.h"
#include "netstack/verbs/fake.h"
#include "netstack/verbs/mover.h"

namespace shunt::verbs {

/// What a mover received, as one string of bytes per lane.
class Collected final : public ring::Mover::Receiver {
 public:
  std::vector<std::vector<std::byte>> lanes{kMaxLanes};
  std::size_t calls = 0;
  void on_records(unsigned lane, std::span<const std::byte> records) override {
    ++calls;
    lanes[lane].insert(lanes[lane].end(), records.begin(), records.end());
  }
};

struct Side {
  std::unique_ptr<VerbsMover> mover;
  Collected got;
  /// Whatever is there.
  Status receive();
};

struct Joined {
  explicit Joined(Calls& calls, const LinkLimits& limits, const Tuning& tuning = {});
  /// Handles events at both sides until `done`; sleeps in between as a link would. False after
  /// `seconds`.
  bool until(const std::function<bool()>& done, int seconds = 60);

  Budget own{64u << 20};
  Budget mirrors{64u << 20};
  std::unique_ptr<Device> device;
  Side a;
  Side b;
  bool for_room = false;  ///< how until() arms
};

LinkLimits small_limits(unsigned lanes = 1);

/// The fake, or the real library if this machine has a device and SHUNT_VERBS_REAL is set.
std::unique_ptr<Calls> test_calls();
bool real_device();

}  // namespace shunt::verbs
