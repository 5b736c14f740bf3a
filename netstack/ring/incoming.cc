// What the peer's records do. Everything in them is a claim: a record that cannot be split from the
// next ends the link, one that cannot be true resets its stream, one of a stream that is not here
// (any more) is counted and passed over.
#include <algorithm>

#include "netstack/ring/ring_link.h"

namespace shunt::ring {
namespace {
/// The first ring of a stream; it grows if it is turned over quickly.
constexpr std::uint32_t kFirstRing = 64u << 10;
}  // namespace

void RingLink::on_records(unsigned /*lane*/, std::span<const std::byte> records) {
  while (!records.empty() && !failure_) {
    const auto record = decode(records);
    if (!record) return fail(record.error());
    ++counters_.records_in;
    on_record(*record);
  }
}

void RingLink::on_record(const Record& record) {
  Stream* stream = find(record.stream);
  if (stream == nullptr) {
    ++counters_.unknown;
    return;
  }
  if (record.op == Op::kReset) return on_reset(*stream);
  if (stream->dying) {  // only its last word matters
    if (record.op == Op::kFinish) stream->peer_final = true;
    return end_if_over(*stream);
  }
  if (on_stream_record(*stream, record)) return;
  ++counters_.violations;
  reset(*stream);
}

bool RingLink::on_stream_record(Stream& stream, const Record& record) {
  const bool about_its_bytes = record.op == Op::kInline || record.op == Op::kUrgent ||
                               record.op == Op::kData || record.op == Op::kWant ||
                               record.op == Op::kMoved || record.op == Op::kRelease ||
                               record.op == Op::kFinish;
  if (about_its_bytes && stream.finish_received) return false;
  switch (record.op) {
    case Op::kInline:
      if (!stream.in.on_inline(record.bytes.size())) return false;
      on_inline(stream, record.bytes);
      return true;
    case Op::kUrgent:
      if (!stream.in.on_inline(1)) return false;
      stream.in.keep(record.bytes, *mover_);
      stream.urgent_at = stream.in.received() - 1;
      to_deliver(stream);
      return true;
    case Op::kData:
      if (!stream.in.on_data(record.cursor)) return false;
      to_deliver(stream);
      return true;
    case Op::kCredit:
      if (!stream.out.on_credit(record.cursor)) return false;
      stream.stalled = false;
      if (stream.out.has_ring()) to_tidy(stream);
      activate(stream);
      return true;
    case Op::kWant:
      on_want(stream);
      return true;
    case Op::kGrant:
      if (stream.finish_sent) return true;  // it crossed our last word
      if (!stream.out.on_grant({record.offset, record.size}, record.key, *mover_)) return false;
      look_at_memory(stream);
      stream.want_sent = stream.stalled = false;
      to_tidy(stream);
      activate(stream);
      return true;
    case Op::kMoved:
      if (!stream.in.on_moved(pool_)) return false;
      stream.reclaim_sent = false;
      serve_wanting();
      return true;
    case Op::kRelease:
      if (!stream.in.on_release(pool_)) return false;
      serve_wanting();
      return true;
    case Op::kReclaim:
      stream.give_back = true;
      to_tidy(stream);
      return true;
    case Op::kFinish:
      stream.finish_received = stream.peer_final = true;
      to_deliver(stream);
      return true;
    case Op::kReset:
      break;
  }
  return false;
}

/// Mostly the application takes them at once, and nothing has to be kept.
void RingLink::on_inline(Stream& stream, std::span<const std::byte> bytes) {
  moved_ = true;
  if (stream.in.waiting() == bytes.size() && !stream.write_blocked) {
    const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};  // sendmsg only reads
    const std::size_t taken = give(stream, std::span{&part, 1});
    if (stream.dying) return;
    stream.in.consume(taken, pool_);
    bytes = bytes.subspan(taken);
  }
  if (!bytes.empty()) stream.in.keep(bytes, *mover_);
  if (stream.in.credit_due()) to_tell(stream);
  if (stream.in.has_ring()) to_tidy(stream);
}

/// The peer's last word, whatever it said before. It waits for ours if it has none.
void RingLink::on_reset(Stream& stream) {
  stream.peer_final = true;
  if (!stream.dying) {
    part(stream, false);
    reset(stream);
    if (stream.finish_sent) stream.reset_due = false;
  }
  end_if_over(stream);
}

void RingLink::on_want(Stream& stream) {
  if (!stream.in.can_grant() || stream.grant_due) return;  // it has one it does not use yet
  if (grant(stream, std::min(kFirstRing, pool_.fair_size(options_.largest_ring)))) return;
  stream.wanted = true;
  if (!std::exchange(stream.in_wanting, true)) wanting_.push_back(&stream);
  // Ask those whose ring is empty.
  for (auto& [id, other] : streams_) {
    if (other->dying || other->reclaim_sent || !other->in.has_ring()) continue;
    if (other->in.waiting() > 0) continue;
    other->reclaim_due = other->reclaim_sent = true;
    to_tell(*other);
  }
}

bool RingLink::grant(Stream& stream, std::uint32_t size) {
  if (size <= stream.in.ring_size()) return false;
  const auto ring = pool_.take(size);
  if (!ring) return false;
  stream.in.grant(ring->ring);
  stream.grant_due = *ring;
  stream.wanted = false;
  to_tell(stream);
  return true;
}

void RingLink::serve_wanting() {
  while (!wanting_.empty()) {
    Stream& stream = *wanting_.front();
    const bool wants = stream.wanted && !stream.dying && !stream.finish_received &&
                       stream.in.can_grant() && !stream.in.has_ring();
    if (wants && !grant(stream, std::min(kFirstRing, pool_.fair_size(options_.largest_ring))))
      return;
    stream.in_wanting = false;
    wanting_.pop_front();
  }
}

}  // namespace shunt::ring
