// The two directions of a stream, as pure bookkeeping: what may be sent, where it goes, whether
// what the peer says can be true. No sockets, no records; used by Link on the fabric loop's thread.
//
// Bytes have positions, counted from 0 in each direction. A position is in the ring that was
// current when it was sent, at (position - where that ring began) modulo its size, or, sent inside
// a record while there was no ring, in `stash`. Bytes sent inside a record while there is a ring
// take their place in it like all others.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "netstack/ring/mover.h"
#include "netstack/ring/pool.h"

namespace shunt::ring {

/// Bytes that may be under way inside records while there is no ring.
constexpr std::uint32_t kInlineWindow = 4096;
/// What a peer may grant; ours are within Options.
constexpr std::uint32_t kLeastRing = 4096;
constexpr std::uint32_t kMostRing = 1u << 20;

/// Where positions of a stream lie, from `start` on.
struct RingAt {
  Extent extent;
  std::uint64_t start = 0;
  /// The parts of the ring for `size` positions from `position` on; the second may be empty.
  std::array<Extent, 2> parts(std::uint64_t position, std::uint64_t size) const;
};

/// What we send.
class Out {
 public:
  /// Bytes that may be sent now.
  std::uint64_t credit() const;
  bool has_ring() const { return ring_.has_value(); }
  std::uint32_t ring_size() const { return ring_ ? ring_->extent.size : 0; }
  bool all_confirmed() const { return acked_ == sent_; }
  /// A ring was granted, and has not been moved to.
  bool was_granted() const { return offered_.has_value(); }
  /// It can be moved to.
  bool has_offer() const { return offered_ && offered_->adopted; }
  /// There is no memory here to write it from.
  bool lacks_memory() const { return offered_ && !offered_->adopted; }
  std::uint64_t sent() const { return sent_; }
  /// Where the next bytes go. Requires has_ring() and size <= credit().
  std::array<Extent, 2> parts(std::uint64_t size) const { return ring_->parts(sent_, size); }
  void send(std::uint64_t bytes) { sent_ += bytes; }

  // What the peer says: false if it cannot be.
  bool on_credit(std::uint64_t cursor);
  bool on_grant(Extent ring, std::uint32_t key, Mover& mover);
  /// Tries again, if lacks_memory(). False: what the peer granted cannot be.
  bool look_for_memory(Mover& mover);
  // What we are about to say. From then on the peer may give the memory to another stream, or away.
  void move(Mover& mover);      ///< kMoved; requires has_offer()
  void drop_all(Mover& mover);  ///< kRelease, kFinish, kReset: nothing more is written

 private:
  struct Offered {
    Extent ring;
    std::uint32_t key = 0;
    bool adopted = false;
  };
  std::uint64_t sent_ = 0;
  std::uint64_t acked_ = 0;
  std::optional<RingAt> ring_;
  std::optional<Offered> offered_;  ///< not moved to yet
};

/// What we receive.
class In {
 public:
  std::uint64_t received() const { return received_; }
  std::uint64_t consumed() const { return consumed_; }
  std::uint64_t waiting() const { return received_ - consumed_; }
  bool has_ring() const { return ring_.has_value(); }
  bool granted() const { return ring_ || offered_ || old_; }
  /// Whether the peer could use one (more): not while it has not taken up the last.
  bool can_grant() const { return !offered_ && !old_; }
  std::uint32_t ring_size() const { return ring_ ? ring_->extent.size : 0; }
  std::uint64_t held() const;  ///< bytes of region
  /// How much the peer has been told may be sent and could not know to be consumed.
  std::uint64_t unconfirmed() const { return received_ - credited_; }
  /// Consumed and not yet told.
  std::uint64_t owed() const { return consumed_ - credited_; }
  /// Enough of that to be worth a record.
  bool credit_due() const { return owed() >= (ring_ ? ring_->extent.size / 4 : kInlineWindow / 2); }

  // What the peer says: false if it cannot be.
  bool on_data(std::uint64_t cursor);
  /// Room for bytes inside a record; then either they are consumed at once, or kept.
  bool on_inline(std::size_t size);
  void keep(std::span<const std::byte> bytes, Mover& mover);  ///< the last ones of on_inline()
  bool on_moved(Pool& pool);
  bool on_release(Pool& pool);

  void grant(Extent ring) { offered_ = ring; }
  /// What waits, oldest first; how many parts were filled in.
  std::size_t parts(std::span<iovec> into, const Mover& mover) const;
  void consume(std::uint64_t bytes, Pool& pool);
  std::uint64_t confirm() { return credited_ = consumed_; }  ///< the cursor for a kCredit
  void give_back_all(Pool& pool);                            ///< the peer will not write any more

 private:
  std::uint64_t limit() const;

  std::uint64_t received_ = 0;
  std::uint64_t consumed_ = 0;
  std::uint64_t credited_ = 0;
  std::optional<RingAt> ring_;
  std::optional<Extent> offered_;
  std::optional<RingAt> old_;     ///< holds positions up to ring_->start
  std::vector<std::byte> stash_;  ///< what waits from before any ring
};

}  // namespace shunt::ring
