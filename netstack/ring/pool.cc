#include "netstack/ring/pool.h"

#include <algorithm>

namespace shunt::ring {

Pool::Pool(Mover& mover, std::uint32_t smallest)
    : mover_{mover},
      smallest_{smallest},
      slab_{mover.shape().slab},
      total_{mover.shape().own / slab_ * std::uint64_t{slab_}} {
  free_.resize(order(slab_) + 1);
  for (std::uint64_t offset = 0; offset < total_; offset += slab_)
    free_.back().insert(static_cast<std::uint32_t>(offset));
}

Pool::Slab* Pool::committed_slab(std::uint32_t offset) {
  const std::uint32_t start = offset - offset % slab_;
  const auto it = slabs_.find(start);
  if (it != slabs_.end()) return &it->second;
  const auto key = mover_.commit(start);
  without_memory_ = !key;
  if (!key) return nullptr;
  return &slabs_.emplace(start, Slab{*key, 0}).first->second;
}

std::optional<Pool::Grant> Pool::take(std::uint32_t size) {
  size = std::clamp(size, smallest_, slab_);
  std::size_t from = order(size);
  while (from < free_.size() && free_[from].empty()) ++from;
  if (from == free_.size()) return std::nullopt;
  const std::uint32_t offset = *free_[from].begin();
  Slab* slab = committed_slab(offset);
  if (slab == nullptr) return std::nullopt;
  free_[from].erase(free_[from].begin());
  for (; from > order(size); --from)  // the upper halves stay free
    free_[from - 1].insert(offset + (smallest_ << (from - 1)));
  ++slab->rings;
  held_ += size;
  return Grant{{offset, size}, slab->key};
}

bool Pool::spent() {
  if (total_ - held_ < total_ / 64) return true;
  return without_memory_ && !free_.back().empty() &&
         committed_slab(*free_.back().begin()) == nullptr;
}

void Pool::give(Extent ring) {
  held_ -= ring.size;
  without_memory_ = false;
  const std::uint32_t slab = ring.offset - ring.offset % slab_;
  const auto it = slabs_.find(slab);
  std::uint32_t offset = ring.offset;
  std::size_t at = order(ring.size);
  for (; at + 1 < free_.size(); ++at) {
    const std::uint32_t buddy = offset ^ (smallest_ << at);
    if (free_[at].erase(buddy) == 0) break;
    offset = std::min(offset, buddy);
  }
  free_[at].insert(offset);
  if (--it->second.rings > 0) return;
  // One slab is kept, so that a link that goes quiet for a moment does not register memory again.
  if (slabs_.size() == 1) return;
  mover_.release(slab);
  slabs_.erase(it);
}

std::uint32_t Pool::fair_size(std::uint32_t largest) const {
  const std::uint64_t free = total_ - held_;
  std::uint32_t size = largest;
  // A small part of what is left, so that about a thousand streams can hold one at a time.
  while (size > smallest_ && size > free / 64) size /= 2;
  return size;
}

}  // namespace shunt::ring
