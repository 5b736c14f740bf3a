#include "netstack/ring/halves.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace shunt::ring {
namespace {

/// Of kInlineWindow, so that a ring does not begin a page's size behind the bytes that lead to it.
/// On AMD's CPUs `rep movsb`, with which the kernel copies, is 15 times slower while (target -
/// source) modulo 4096 is 1 to 31. Sockets keep large writes at pages' starts; after a greeting of
/// a few bytes each of them would go to a few bytes behind a page's start of the ring, for good.
constexpr std::uint64_t kUsedWindow = kInlineWindow - 64;

}  // namespace

std::array<Extent, 2> RingAt::parts(std::uint64_t position, std::uint64_t size) const {
  const auto at = static_cast<std::uint32_t>((position - start) & (extent.size - 1));
  const auto first = static_cast<std::uint32_t>(std::min<std::uint64_t>(size, extent.size - at));
  return {Extent{extent.offset + at, first},
          Extent{extent.offset, static_cast<std::uint32_t>(size - first)}};
}

// ---- Out

std::uint64_t Out::credit() const {
  if (!ring_) return kUsedWindow - std::min<std::uint64_t>(kUsedWindow, sent_ - acked_);
  return ring_->extent.size - (sent_ - std::max(acked_, ring_->start));
}

bool Out::on_credit(std::uint64_t cursor) {
  if (cursor < acked_ || cursor > sent_) return false;
  acked_ = cursor;
  return true;
}

bool Out::on_grant(Extent ring, std::uint32_t key, Mover& mover) {
  if (offered_) return false;
  if (!std::has_single_bit(ring.size) || ring.size < kLeastRing || ring.size > kMostRing)
    return false;
  const std::uint32_t peer = mover.shape().peer;
  if (ring.offset % ring.size != 0 || ring.offset > peer || ring.size > peer - ring.offset)
    return false;
  offered_ = Offered{ring, key};
  return look_for_memory(mover);
}

bool Out::look_for_memory(Mover& mover) {
  if (!lacks_memory()) return true;
  const Status adopted = mover.adopt(offered_->ring, offered_->key);
  offered_->adopted = static_cast<bool>(adopted);
  if (adopted || adopted.error().number != EPROTO) return true;
  offered_.reset();
  return false;
}

void Out::move(Mover& mover) {
  // Not later: the peer says nothing when it has read the last of the old ring and uses its memory
  // for something else, which the next grant may be about.
  if (ring_) mover.drop(ring_->extent);
  ring_ = RingAt{offered_->ring, sent_};
  offered_.reset();
}

void Out::drop_all(Mover& mover) {
  if (ring_) mover.drop(ring_->extent);
  if (has_offer()) mover.drop(offered_->ring);
  ring_.reset();
  offered_.reset();
}

// ---- In

std::uint64_t In::held() const {
  return (ring_ ? ring_->extent.size : 0u) + (offered_ ? offered_->size : 0u) +
         (old_ ? old_->extent.size : 0u);
}

/// The last position (exclusive) that the peer may have sent, by what it knows.
std::uint64_t In::limit() const {
  if (!ring_) return credited_ + kInlineWindow;
  return std::max(credited_, ring_->start) + ring_->extent.size;
}

bool In::on_data(std::uint64_t cursor) {
  if (!ring_ || cursor <= received_ || cursor > limit()) return false;
  received_ = cursor;
  return true;
}

bool In::on_inline(std::size_t size) {
  if (size == 0 || size > limit() - received_) return false;
  received_ += size;
  return true;
}

void In::keep(std::span<const std::byte> bytes, Mover& mover) {
  if (!ring_) {
    stash_.insert(stash_.end(), bytes.begin(), bytes.end());
    return;
  }
  for (const Extent& part : ring_->parts(received_ - bytes.size(), bytes.size())) {
    if (part.size == 0) continue;
    std::memcpy(mover.writable(part).data(), bytes.data(), part.size);
    bytes = bytes.subspan(part.size);
  }
}

bool In::on_moved(Pool& pool) {
  if (!offered_) return false;
  if (ring_ && consumed_ < received_) {
    old_ = ring_;  // was empty: can_grant()
  } else if (ring_) {
    pool.give(ring_->extent);
  }
  ring_ = RingAt{*offered_, received_};
  offered_.reset();
  return true;
}

bool In::on_release(Pool& pool) {
  // An honest peer has seen all of its bytes confirmed.
  if (!ring_ || old_ || credited_ != received_) return false;
  pool.give(ring_->extent);
  ring_.reset();
  return true;
}

std::size_t In::parts(std::span<iovec> into, const Mover& mover) const {
  std::size_t count = 0;
  std::uint64_t at = consumed_;
  const auto add = [&](const RingAt& ring, std::uint64_t end) {
    if (at >= end) return;
    for (const Extent& part : ring.parts(at, end - at)) {
      if (part.size == 0 || count == into.size()) continue;
      const auto bytes = mover.region().subspan(part.offset, part.size);
      into[count++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};  // sendmsg only reads
    }
    at = end;
  };
  if (!stash_.empty() && count < into.size()) {
    into[count++] = {const_cast<std::byte*>(stash_.data()), stash_.size()};
    at += stash_.size();
  }
  if (old_) add(*old_, ring_->start);
  if (ring_) add(*ring_, received_);
  return count;
}

void In::consume(std::uint64_t bytes, Pool& pool) {
  consumed_ += bytes;
  if (!stash_.empty()) {
    const auto out = static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(bytes, stash_.size()));
    stash_.erase(stash_.begin(), stash_.begin() + out);
    if (stash_.empty()) stash_.shrink_to_fit();
  }
  if (old_ && consumed_ >= ring_->start) {
    pool.give(old_->extent);
    old_.reset();
  }
}

void In::give_back_all(Pool& pool) {
  if (ring_) pool.give(ring_->extent);
  if (offered_) pool.give(*offered_);
  if (old_) pool.give(old_->extent);
  ring_.reset();
  offered_.reset();
  old_.reset();
}

}  // namespace shunt::ring
