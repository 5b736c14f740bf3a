// Which stream ids a link has seen, so that none is used twice. Ids are given out in rising order
// per side (odd and even), but offers are judged side by side and may arrive here out of order: a
// window below the highest is remembered bit by bit, and what is older counts as used.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>

namespace shunt::ring {

class UsedIds {
 public:
  static constexpr std::uint32_t kWindow = 8192;  ///< ids per side

  bool used(std::uint32_t id) const {
    const Side& side = sides_[id % 2];
    const std::uint64_t number = id / 2 + 1;
    if (number > side.highest) return false;
    return side.highest - number >= kWindow || side.seen[number % kWindow];
  }
  /// Requires !used(id).
  void use(std::uint32_t id) {
    Side& side = sides_[id % 2];
    const std::uint64_t number = id / 2 + 1;
    if (number > side.highest + kWindow)
      side.seen.reset();
    else
      for (std::uint64_t skipped = side.highest + 1; skipped < number; ++skipped)
        side.seen.reset(skipped % kWindow);
    if (number > side.highest) side.highest = number;
    side.seen.set(number % kWindow);
  }

 private:
  struct Side {
    std::uint64_t highest = 0;
    std::bitset<kWindow> seen;
  };
  std::array<Side, 2> sides_;
};

}  // namespace shunt::ring
