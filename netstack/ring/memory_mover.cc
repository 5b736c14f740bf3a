#include "netstack/ring/memory_mover.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace shunt::ring {
namespace {
std::byte* map(std::size_t size) {
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return static_cast<std::byte*>(memory);
}
}  // namespace

MemoryMover::MemoryMover(const MemoryFaults& faults, std::uint32_t seed)
    : faults_{faults},
      random_{seed},
      region_{map(faults.region)},
      mirror_{map(faults.region)},
      bell_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)},
      lanes_(faults.lanes),
      slabs_(faults.region / faults.slab) {
  shape_ = {.own = faults.region,
            .peer = faults.region,
            .slab = faults.slab,
            .lanes = faults.lanes,
            .small = faults.small,
            .batch = 4096};
}

MemoryMover::~MemoryMover() {
  if (peer_ != nullptr) {
    for (unsigned lane = 0; lane < shape_.lanes; ++lane) {
      for (Item& item : lanes_[lane].out) {
        if (!item.published) continue;
        peer_->land(item);
        peer_->inherited_.push_back({lane, std::move(item.records)});
      }
    }
    peer_->peer_ = nullptr;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto ignored = ::write(peer_->bell_.get(), &one, sizeof one);
  }
  ::munmap(region_, shape_.own);
  ::munmap(mirror_, shape_.peer);
}

std::pair<std::unique_ptr<MemoryMover>, std::unique_ptr<MemoryMover>> MemoryMover::pair(
    const MemoryFaults& faults) {
  auto first = std::make_unique<MemoryMover>(faults, faults.seed * 2);
  auto second = std::make_unique<MemoryMover>(faults, faults.seed * 2 + 1);
  first->peer_ = second.get();
  second->peer_ = first.get();
  return {std::move(first), std::move(second)};
}

std::span<std::byte> MemoryMover::writable(Extent part) {
  return {region_ + part.offset, part.size};
}

Result<std::uint32_t> MemoryMover::commit(std::uint32_t slab_offset) {
  Slab& slab = slabs_.at(slab_offset / faults_.slab);
  if (slab.committed) ++broken_rules;
  slab = {true, static_cast<std::uint32_t>(random_() | 1u)};
  return std::uint32_t{slab.key};
}

void MemoryMover::release(std::uint32_t slab_offset) {
  Slab& slab = slabs_.at(slab_offset / faults_.slab);
  if (!slab.committed) ++broken_rules;
  slab = {};
}

Status MemoryMover::adopt(Extent ring, std::uint32_t key) {
  if (peer_ == nullptr) return Error{ECONNRESET, "peer"};
  if (peer_->slabs_.at(slab_of(ring)).key != key) return Error{EPROTO, "ring key"};
  std::set<std::uint32_t> mirrors{slab_of(ring)};
  for (const Adopted& each : adopted_) {
    // One key each, as registered memory has.
    if (slab_of(each.ring) == slab_of(ring) && each.key != key) return Error{EPROTO, "ring key"};
    mirrors.insert(slab_of(each.ring));
  }
  if (mirrors.size() > faults_.mirrors) return Error{ENOBUFS, "mirrors"};
  adopted_.push_back({ring, key});
  return Done{};
}

void MemoryMover::drop(Extent ring) {
  const auto it = std::find_if(adopted_.begin(), adopted_.end(), [&](const Adopted& each) {
    return each.ring.offset == ring.offset && each.ring.size == ring.size;
  });
  if (it == adopted_.end())
    ++broken_rules;
  else
    adopted_.erase(it);
}

bool MemoryMover::adopted(Extent part) const {
  return std::any_of(adopted_.begin(), adopted_.end(), [&](const Adopted& each) {
    return part.offset >= each.ring.offset && part.size <= each.ring.size &&
           part.offset - each.ring.offset <= each.ring.size - part.size;
  });
}

std::span<std::byte> MemoryMover::stage(Extent part) {
  if (!adopted(part)) ++broken_rules;
  return {mirror_ + part.offset, part.size};
}

Mover::Room MemoryMover::room(unsigned lane) const {
  const Lane& own = lanes_.at(lane);
  return {faults_.records - std::min(faults_.records, own.records),
          faults_.calls - std::min(faults_.calls, own.calls)};
}

void MemoryMover::push(unsigned lane, Extent part) {
  Lane& own = lanes_.at(lane);
  if (!adopted(part) || room(lane).calls == 0) ++broken_rules;
  if (own.out.empty() || own.out.back().published) own.out.emplace_back();
  own.out.back().pushes.push_back(part);
  ++own.calls;
  unflushed_ = true;
}

void MemoryMover::publish(unsigned lane, std::span<const std::byte> records, bool /*wake*/) {
  Lane& own = lanes_.at(lane);
  if (room(lane).calls == 0 || room(lane).records < records.size() || records.empty() ||
      records.size() % 8 != 0 || records.size() > shape_.batch)
    ++broken_rules;
  if (own.out.empty() || own.out.back().published) own.out.emplace_back();
  own.out.back().records.assign(records.begin(), records.end());
  own.out.back().published = true;
  own.records += records.size();
  ++own.calls;
  ++records_published;
  unflushed_ = true;
}

void MemoryMover::ring_bell() {
  const std::uint64_t one = 1;
  if (chance(faults_.lost_bells)) return;
  for (unsigned times = chance(faults_.double_bells) ? 2 : 1; times > 0; --times) {
    [[maybe_unused]] const auto ignored = ::write(bell_.get(), &one, sizeof one);
  }
}

Status MemoryMover::flush() {
  if (peer_ == nullptr) return Error{ECONNRESET, "peer"};
  if (std::exchange(unflushed_, false) && std::exchange(peer_->armed_, false)) peer_->ring_bell();
  return Done{};
}

/// Only now, in any order, from whatever the mirror holds.
void MemoryMover::land(Item& item) {
  std::shuffle(item.pushes.begin(), item.pushes.end(), random_);
  for (const Extent& part : item.pushes) {
    if (!slabs_.at(part.offset / faults_.slab).committed) ++broken_rules;
    std::memcpy(region_ + part.offset, peer_->mirror_ + part.offset, part.size);
  }
}

Result<bool> MemoryMover::receive(Receiver& receiver) {
  if (peer_ == nullptr) {
    if (inherited_.empty()) return Error{ECONNRESET, "peer"};
    for (const auto& [lane, records] : std::exchange(inherited_, {}))
      receiver.on_records(lane, records);
    return true;
  }
  bool any = false;
  for (unsigned lane = 0; lane < shape_.lanes && peer_ != nullptr; ++lane) {
    Lane& theirs = peer_->lanes_[lane];
    std::size_t count = theirs.out.size();
    if (count > 0 && chance(faults_.late)) count = random_() % (count + 1);
    for (; count > 0 && peer_ != nullptr && theirs.out.front().published; --count) {
      Item item = std::move(theirs.out.front());
      theirs.out.pop_front();
      theirs.records -= item.records.size();
      theirs.calls -= item.pushes.size() + 1;
      land(item);
      any = true;
      if (std::exchange(peer_->armed_for_room_, false)) peer_->ring_bell();
      receiver.on_records(lane, item.records);
    }
  }
  return any;
}

bool MemoryMover::arm(bool for_room) {
  if (peer_ == nullptr) return false;
  for (const Lane& theirs : peer_->lanes_)
    if (!theirs.out.empty() && theirs.out.front().published) return false;
  armed_ = true;
  armed_for_room_ = for_room;
  return true;
}

void MemoryMover::disarm() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto ignored = ::read(bell_.get(), &count, sizeof count);
}

std::vector<std::pair<std::string, std::uint64_t>> MemoryMover::counters() const {
  return {{"publishes", records_published}, {"broken rules", broken_rules}};
}

}  // namespace shunt::ring
