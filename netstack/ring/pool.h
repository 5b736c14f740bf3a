// Our region as a pool of rings: a buddy allocator over slabs, which are committed with the mover
// when the first ring of them is taken and released when the last has come back. An idle stream
// holds no ring, so a link without traffic holds no memory but one spare slab.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "netstack/ring/mover.h"

namespace shunt::ring {

class Pool {
 public:
  /// `smallest` is a power of two that divides the slab.
  Pool(Mover& mover, std::uint32_t smallest);

  struct Grant {
    Extent ring;
    std::uint32_t key = 0;
  };
  /// A ring of exactly this power of two, at least `smallest`; empty if there is none now.
  std::optional<Grant> take(std::uint32_t size);
  /// Gives back what take() gave.
  void give(Extent ring);

  /// Whether there would be no ring for one more stream: nearly all are out, or what is left has no
  /// memory behind it (other links may hold that). Asks for some again if there was none.
  bool spent();

  std::uint64_t total() const { return total_; }
  std::uint64_t held() const { return held_; }  ///< bytes in rings that are out
  std::uint64_t committed() const { return std::uint64_t{slabs_.size()} * slab_; }
  /// The largest ring that one stream should get while so much is held by others.
  std::uint32_t fair_size(std::uint32_t largest) const;

 private:
  struct Slab {
    std::uint32_t key = 0;
    std::uint32_t rings = 0;
  };
  std::size_t order(std::uint32_t size) const {
    return static_cast<std::size_t>(std::countr_zero(size) - std::countr_zero(smallest_));
  }
  Slab* committed_slab(std::uint32_t offset);

  Mover& mover_;
  std::uint32_t smallest_;
  std::uint32_t slab_;
  std::uint64_t total_;
  std::uint64_t held_ = 0;
  bool without_memory_ = false;                ///< the last commit failed
  std::vector<std::set<std::uint32_t>> free_;  ///< by order; lowest offsets first, to stay dense
  std::unordered_map<std::uint32_t, Slab> slabs_;  ///< the committed ones, by offset
};

}  // namespace shunt::ring
