// Two movers joined in one process, for tests: deterministic for a seed, and as unkind as the rules
// of mover.h allow. What is pushed reaches the other region late and in any order, but before the
// records published after it; until then it may be read from the mirror, so a mirror that is
// written again too early shows. Room is scarce, doorbells get lost or ring twice.
#pragma once

#include <deque>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "netstack/base/unique_fd.h"
#include "netstack/ring/mover.h"

namespace shunt::ring {

struct MemoryFaults {
  std::uint32_t seed = 1;
  unsigned late = 0;        ///< per cent of receive() calls that leave something for later
  unsigned lost_bells = 0;  ///< per cent
  unsigned double_bells = 0;
  std::size_t records = 64u << 10;  ///< bytes of records under way, per lane
  std::size_t calls = 64;           ///< pushes and publishes under way, per lane
  unsigned lanes = 1;
  std::uint32_t region = 64u << 20;
  std::uint32_t slab = 2u << 20;
  std::uint32_t small = 256;
  std::size_t mirrors = 1u << 12;  ///< slabs of the peer's that rings may be adopted in at once
};

class MemoryMover final : public Mover {
 public:
  MemoryMover(const MemoryFaults& faults, std::uint32_t seed);
  ~MemoryMover() override;
  static std::pair<std::unique_ptr<MemoryMover>, std::unique_ptr<MemoryMover>> pair(
      const MemoryFaults& faults);

  const Shape& shape() const override { return shape_; }
  std::span<const std::byte> region() const override { return {region_, shape_.own}; }
  std::span<std::byte> writable(Extent part) override;
  Result<std::uint32_t> commit(std::uint32_t slab_offset) override;
  void release(std::uint32_t slab_offset) override;
  Status adopt(Extent ring, std::uint32_t key) override;
  void drop(Extent ring) override;
  std::span<std::byte> stage(Extent part) override;
  Room room(unsigned lane) const override;
  void push(unsigned lane, Extent part) override;
  void publish(unsigned lane, std::span<const std::byte> records, bool wake) override;
  Status flush() override;
  Result<bool> receive(Receiver& receiver) override;
  int event_fd() const override { return bell_.get(); }
  bool arm(bool for_room) override;
  void disarm() override;
  std::string state() const override { return peer_ == nullptr ? "peer gone" : "up"; }
  std::vector<std::pair<std::string, std::uint64_t>> counters() const override;

  std::uint64_t records_published = 0;
  unsigned broken_rules = 0;  ///< uses of memory or room that mover.h forbids

 private:
  struct Item {  ///< pushes, and the records that come after them
    std::vector<Extent> pushes;
    std::vector<std::byte> records;
    bool published = false;
  };
  struct Lane {
    std::deque<Item> out;  ///< towards the peer; the last one may still be growing
    std::size_t records = 0, calls = 0;
  };
  struct Slab {
    bool committed = false;
    std::uint32_t key = 0;
  };
  bool chance(unsigned per_cent) { return random_() % 100 < per_cent; }
  void ring_bell();
  void land(Item& item);
  bool adopted(Extent part) const;
  std::uint32_t slab_of(Extent part) const { return part.offset / faults_.slab; }

  MemoryFaults faults_;
  Shape shape_;
  std::mt19937 random_;
  std::byte* region_ = nullptr;  ///< mapped, so that what was never used costs nothing
  std::byte* mirror_ = nullptr;
  UniqueFd bell_;
  MemoryMover* peer_ = nullptr;
  std::vector<Lane> lanes_;
  std::vector<std::pair<unsigned, std::vector<std::byte>>> inherited_;  ///< from a peer that left
  std::vector<Slab> slabs_;
  struct Adopted {
    Extent ring;
    std::uint32_t key = 0;
  };
  std::vector<Adopted> adopted_;
  bool armed_ = false, armed_for_room_ = false, unflushed_ = false;
};

}  // namespace shunt::ring
