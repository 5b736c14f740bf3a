// Memory that a device reads or writes: reserved as one range of addresses, of which only
// registered slabs hold pages. Pages are shared memory, so that a fork of the shim does not move
// them away from under the device.
//
// A slab that is forgotten gives its pages back to the system, and comes back as zeroes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "netstack/verbs/owned.h"

namespace shunt::verbs {

/// Bytes that may still be registered; shared by everything of one fabric.
struct Budget {
  std::size_t left = 0;
};

class Memory {
 public:
  /// What may be done with the slabs: written by the peer's queue pairs, or read by our own device.
  enum class Use : std::uint8_t { kPeerWrites, kWeSend };

  Memory(Calls& calls, Use use, Budget& budget) : calls_{calls}, use_{use}, budget_{budget} {}
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Reserves `size` bytes of addresses. `slab` divides it.
  Status reserve(ibv_pd* domain, std::size_t size, std::size_t slab);

  std::span<std::byte> bytes() const { return {base_, size_}; }
  /// Registers the slab at `offset`. For the peer its address is `offset`: ours stay private.
  /// ENOBUFS: the budget is used up; ENOMEM: the system refuses to pin more.
  Status add(std::size_t offset);
  void remove(std::size_t offset);
  bool has(std::size_t offset) const { return static_cast<bool>(slab_at(offset)); }
  std::uint32_t local_key(std::size_t offset) const { return slab_at(offset)->lkey; }
  std::uint32_t remote_key(std::size_t offset) const { return slab_at(offset)->rkey; }

 private:
  const OwnedMemory& slab_at(std::size_t offset) const { return slabs_[offset / slab_]; }

  Calls& calls_;
  Use use_;
  Budget& budget_;
  ibv_pd* domain_ = nullptr;
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
  std::size_t slab_ = 1;
  std::vector<OwnedMemory> slabs_;
};

}  // namespace shunt::verbs
