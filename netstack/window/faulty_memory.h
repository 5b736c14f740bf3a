// For tests: the peer's window as it looks over a bad bus. Written lines become visible one by one,
// in any order, some early and all others only when a later store() forces them; what is read back
// is not what was written; bells get lost or ring twice.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "netstack/window/layout.h"
#include "netstack/window/peer_memory.h"

namespace shunt::window {

struct BusFaults {
  std::uint32_t seed = 1;
  unsigned lost_bells = 0;    ///< per cent
  unsigned double_bells = 0;  ///< per cent
};

class FaultyMemory final : public PeerMemory {
 public:
  FaultyMemory(SharedMemory memory, UniqueFd bell, BusFaults faults)
      : PeerMemory{std::move(memory), std::move(bell)}, faults_{faults}, random_{faults.seed} {
    auto shadow = SharedMemory::make(memory_.bytes().size());
    if (!shadow) std::abort();
    shadow_ = std::move(*shadow);
  }

  std::span<std::byte> stage(std::size_t at, std::size_t size) override {
    return shadow_.bytes().subspan(at, size);
  }
  void wrote(std::size_t at, std::size_t size) override {
    for (std::size_t end = at + size; at < end;) {
      const std::size_t next = std::min(end, (at / kLine + 1) * kLine);
      lines_.push_back({at, next - at});
      at = next;
    }
    while (!lines_.empty() && random_() % 4 == 0) flush_one();
  }
  void store(std::size_t at, std::uint64_t value) override {
    while (!lines_.empty()) flush_one();
    PeerMemory::store(at, value);
  }
  void ring() override {
    if (random_() % 100 < faults_.lost_bells) return;
    PeerMemory::ring();
    if (random_() % 100 < faults_.double_bells) PeerMemory::ring();
  }

 private:
  struct Line {
    std::size_t at, size;
  };
  void flush_one() {
    std::swap(lines_[random_() % lines_.size()], lines_.back());
    const Line line = lines_.back();
    lines_.pop_back();
    const auto from = shadow_.bytes().subspan(line.at, line.size);
    std::copy(from.begin(), from.end(),
              memory_.bytes().begin() + static_cast<std::ptrdiff_t>(line.at));
    std::fill(from.begin(), from.end(), std::byte{0xA5});
  }

  BusFaults faults_;
  std::mt19937 random_;
  SharedMemory shadow_;
  std::vector<Line> lines_;
};

}  // namespace shunt::window
