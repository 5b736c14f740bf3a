// The turn.
//
//   receive     the peer's records: they mark streams; small payloads go to applications at once
//   deliver     out of our rings into applications, until each has it or takes no more
//   send        from applications into the peer's rings, deficit round robin: a stream with much to
//               send gets one quantum, then the next one's turn comes
//   tell        credit, grants, last words
//   rest        look again for a moment if that has paid lately, then arm the mover and sleep
//
// Nothing here queues without a bound: bytes stay in the application's socket until the peer has
// granted a place for them, and what is to be told is a handful of flags per stream.
#include <algorithm>
#include <array>

#include "netstack/ring/ring_link.h"

namespace shunt::ring {
namespace {

constexpr std::int64_t kQuantum = 64 << 10;
/// Bytes sent in a turn before incoming records are looked at again.
constexpr std::int64_t kSendBudget = 1 << 20;
constexpr auto kTick = std::chrono::milliseconds{50};
/// How long it may take to notice what came without waking us.
constexpr auto kLook = std::chrono::milliseconds{100};
/// Quiet ticks after which a ring is given back.
constexpr int kIdleTicks = 2;
/// How long a run of useless spins is remembered, and how much one that paid counts.
constexpr int kSpinMost = 64;
constexpr int kSpinPaid = 16;

}  // namespace

void RingLink::schedule() {
  if (!failure_) turn_.ask();
}

void RingLink::activate(Stream& stream) {
  const bool ready = stream.readable && !stream.app_ended && !stream.offered && !stream.dying;
  if (ready && !std::exchange(stream.in_active, true)) active_.push_back(&stream);
  if (ready) schedule();
}

void RingLink::to_deliver(Stream& stream) {
  if (!std::exchange(stream.in_deliver, true)) deliver_.push_back(&stream);
  schedule();
}

void RingLink::to_tell(Stream& stream) {
  if (!std::exchange(stream.in_dirty, true)) dirty_.push_back(&stream);
  schedule();
}

void RingLink::to_tidy(Stream& stream) {
  stream.idle_ticks = 0;
  if (!std::exchange(stream.in_tidy, true)) tidy_.push_back(&stream);
  if (tick_timer_ == 0) tick_timer_ = loop_.after(kTick, [this] { tick(); });
}

void RingLink::turn() {
  if (failure_) return;
  ++counters_.turns;
  moved_ = false;
  room_blocked_ = false;
  const auto received = mover_->receive(*this);
  if (!received) return fail(received.error());
  if (failure_) return;
  for (std::size_t left = deliver_.size(); left > 0; --left) {
    Stream& stream = *deliver_.front();
    deliver_.pop_front();
    stream.in_deliver = false;
    deliver(stream);
  }
  tell_all();  // before sending: credit keeps the peer going
  send_round();
  tell_all();
  publish_all();
  if (std::exchange(last_words_, false)) mover_->must_arrive();
  if (const Status flushed = mover_->flush(); !flushed) {
    (void)mover_->receive(*this);  // what the peer said before it went counts
    return fail(flushed.error());
  }
  bury();
  rest(*received || moved_);
}

void RingLink::rest(bool worked) {
  const bool may_spin = options_.spin > options_.spin.zero();
  const auto now = may_spin ? EventLoop::Clock::now() : EventLoop::Clock::time_point{};
  if (worked) {
    if (now < spin_until_) {
      spin_value_ = std::min(spin_value_ + kSpinPaid, kSpinMost);
      ++counters_.spins_paid;
    }
    // Now and then spin although it has not paid: the traffic may have changed.
    const bool spin = spin_value_ > 0 || counters_.turns % 64 == 0;
    spin_until_ = spin ? now + options_.spin : now;
  }
  if (!active_.empty() && !room_blocked_) return schedule();
  if (now < spin_until_) return schedule();
  if (spin_until_ != EventLoop::Clock::time_point{} && spin_value_ > 0) --spin_value_;
  spin_until_ = {};
  if (!mover_->arm(room_blocked_)) return schedule();
  ++counters_.sleeps;
  if (look_timer_ != 0 || streams_.empty()) return;
  look_timer_ = loop_.after(kLook, [this] {
    look_timer_ = 0;
    schedule();
  });
}

// ---- to applications

/// How many bytes the application took. One that is gone takes none and the stream is reset; one
/// that only does not want to read any more takes all.
std::size_t RingLink::give(Stream& stream, std::span<const iovec> parts) {
  const auto n = stream.app.give(parts);
  std::size_t all = 0;
  for (const iovec& part : parts) all += part.iov_len;
  if (!n) {
    if (n.error().number == EPIPE && !stream.app.gone()) return all;
    if (n.error().number == EPIPE && !stream.app_ended && !stream.offered) {
      // What it wrote before it ended still counts; then the peer hears that this was lost.
      stream.app_failed = stream.readable = true;
      activate(stream);
      return all;
    }
    reset(stream);
    return 0;
  }
  if (*n < all) block(stream, true);
  return *n;
}

/// The same for what comes next: an urgent byte is given by itself.
std::size_t RingLink::give_next(Stream& stream, std::span<iovec> parts) {
  if (!stream.urgent_at) return give(stream, parts);
  std::uint64_t before = *stream.urgent_at - stream.in.consumed();
  if (before == 0) {
    const auto n = stream.app.give_urgent(*static_cast<const std::byte*>(parts[0].iov_base));
    if (!n || *n == 1) stream.urgent_at.reset();
    if (!n) return give(stream, parts.first(1));  // says what the error means
    if (*n == 0) block(stream, true);
    return *n;
  }
  std::size_t count = 0;
  for (; count < parts.size() && before > 0; ++count) {
    parts[count].iov_len = std::min<std::uint64_t>(parts[count].iov_len, before);
    before -= parts[count].iov_len;
  }
  return give(stream, parts.first(count));
}

void RingLink::block(Stream& stream, bool blocked) {
  if (std::exchange(stream.write_blocked, blocked) == blocked || stream.dying) return;
  const std::uint32_t out = blocked ? std::uint32_t{EPOLLOUT} : 0;
  (void)loop_.rearm(stream.watch, kAppEvents | out);
}

void RingLink::deliver(Stream& stream) {
  if (stream.dying) return;
  const bool nearly_full = stream.in.has_ring() &&
                           stream.in.unconfirmed() > std::uint64_t{stream.in.ring_size()} / 4 * 3;
  while (stream.in.waiting() > 0 && !stream.write_blocked) {
    std::array<iovec, 5> parts{};
    const std::size_t count = stream.in.parts(parts, *mover_);
    const std::size_t taken = give_next(stream, std::span{parts}.first(count));
    if (stream.dying) return;
    const bool had_old = !stream.in.can_grant();
    stream.in.consume(taken, pool_);
    if (had_old && stream.in.can_grant()) serve_wanting();
    moved_ = true;
  }
  if (nearly_full && stream.in.waiting() == 0 && stream.in.can_grant() && !stream.grant_due &&
      ++stream.full >= 4) {
    stream.full = 0;
    (void)grant(stream,
                std::min(stream.in.ring_size() * 2, pool_.fair_size(options_.largest_ring)));
  }
  if (stream.in.credit_due()) to_tell(stream);
  if (stream.in.has_ring()) to_tidy(stream);
  if (stream.finish_received && stream.in.waiting() == 0 && !stream.finish_given) {
    stream.app.finish();
    stream.finish_given = true;
    stream.grant_due.reset();
    stream.in.give_back_all(pool_);
    serve_wanting();
    end_if_over(stream);
  }
}

// ---- from applications

void RingLink::send_round() {
  std::int64_t budget = kSendBudget;
  std::int64_t gathered = 0;
  while (!active_.empty() && budget > 0) {
    Stream& stream = *active_.front();
    active_.pop_front();
    stream.in_active = false;
    if (stream.dying || stream.app_ended) continue;
    stream.deficit = std::min(stream.deficit, std::int64_t{0}) + kQuantum;
    const std::uint64_t before = stream.out.sent();
    const Sent sent = send(stream);
    const auto moved = static_cast<std::int64_t>(stream.out.sent() - before);
    budget -= moved + 256;
    gathered += moved;
    if (sent == Sent::kNothing) continue;
    stream.in_active = true;
    if (sent == Sent::kNoRoom) {
      active_.push_front(&stream);
      ++counters_.no_room;
      return;
    }
    active_.push_back(&stream);
    if (gathered < mover_->shape().burst) continue;
    gathered = 0;
    publish_all();  // the peer can begin with this while we go on
    (void)mover_->flush();
  }
}

/// One stream's quantum. kMore: it has bytes and credit left.
RingLink::Sent RingLink::send(Stream& stream) {
  while (stream.readable && !stream.app_ended && stream.deficit > 0) {
    if (!has_room(lane_of(stream), 2 * kMostRecord + 64, 3)) return Sent::kNoRoom;
    if (stream.out.has_offer()) {
      if (!append(stream, {.op = Op::kMoved, .stream = stream.id, .bytes = {}}))
        return Sent::kNoRoom;
      stream.out.move(*mover_);
      to_tidy(stream);
    }
    if (stream.out.credit() == 0) {
      if (stream.app_failed) {
        reset(stream);
        return Sent::kNothing;
      }
      if (!std::exchange(stream.stalled, true)) ++stream.stalls;
      if (!stream.out.has_ring() && !std::exchange(stream.want_sent, true)) {
        stream.want_due = true;
        to_tell(stream);
      }
      return Sent::kNothing;  // until the peer says kCredit or kGrant
    }
    const bool ok = stream.out.has_ring() ? take_into_ring(stream) : take_into_records(stream);
    if (!ok) {
      reset(stream);
      return Sent::kNothing;
    }
  }
  if (stream.app_ended && stream.app_failed) {
    reset(stream);
    return Sent::kNothing;
  }
  if (stream.app_ended) to_tell(stream);
  return stream.readable && !stream.app_ended ? Sent::kMore : Sent::kNothing;
}

bool RingLink::take_into_ring(Stream& stream) {
  const std::uint64_t credit = stream.out.credit();
  const std::uint64_t most = std::min<std::uint64_t>(credit, static_cast<std::uint64_t>(kQuantum));
  const std::size_t small = std::min<std::uint64_t>({credit, mover_->shape().small, kMostInline});
  const auto places = stream.out.parts(most);
  std::array<iovec, 2> parts{};
  for (std::size_t i = 0; i < 2; ++i) {
    if (places[i].size == 0) continue;
    const auto bytes = mover_->stage(places[i]);
    parts[i] = {bytes.data(), bytes.size()};
  }
  const auto taken = stream.app.take(std::span{scratch_}.first(small),
                                     std::span{parts}.first(places[1].size > 0 ? 2 : 1));
  if (!taken) return false;
  stream.readable = !taken->drained;
  stream.app_ended = taken->ended;
  const std::size_t bytes = taken->small + taken->large;
  if (bytes == 0) return true;
  moved_ = true;
  stream.deficit -= static_cast<std::int64_t>(bytes);
  if (taken->small > 0) {
    const auto payload = std::span<const std::byte>{scratch_}.first(taken->small);
    counters_.inline_bytes += taken->small;
    stream.out.send(taken->small);
    return append(
        stream,
        {.op = taken->urgent ? Op::kUrgent : Op::kInline, .stream = stream.id, .bytes = payload});
  }
  for (const Extent& part : stream.out.parts(taken->large))
    if (part.size > 0) mover_->push(lane_of(stream), part);
  counters_.ring_bytes += taken->large;
  stream.out.send(taken->large);
  return append(stream,
                {.op = Op::kData, .stream = stream.id, .cursor = stream.out.sent(), .bytes = {}});
}

bool RingLink::take_into_records(Stream& stream) {
  const std::size_t most = std::min<std::uint64_t>(stream.out.credit(), scratch_.size());
  const auto taken = stream.app.take(std::span{scratch_}.first(most), {});
  if (!taken) return false;
  stream.readable = !taken->drained;
  stream.app_ended = taken->ended;
  if (taken->small == 0) return true;
  moved_ = true;
  stream.deficit -= static_cast<std::int64_t>(taken->small);
  counters_.inline_bytes += taken->small;
  stream.out.send(taken->small);
  for (auto rest = std::span<const std::byte>{scratch_}.first(taken->small); !rest.empty();) {
    const auto payload = rest.first(std::min(rest.size(), kMostInline));
    rest = rest.subspan(payload.size());
    if (!append(stream, {.op = taken->urgent ? Op::kUrgent : Op::kInline,
                         .stream = stream.id,
                         .bytes = payload}))
      return false;
  }
  if (stream.readable && !std::exchange(stream.want_sent, true)) {
    stream.want_due = true;
    to_tell(stream);
  }
  return true;
}

// ---- to the peer

bool RingLink::has_room(unsigned lane, std::size_t records, std::size_t pushes) {
  const auto room = mover_->room(lane);
  const bool enough = room.records >= outbox_[lane].size() + records && room.calls >= pushes + 1;
  if (!enough) room_blocked_ = true;
  return enough;
}

bool RingLink::append(Stream& stream, const Record& record) {
  const unsigned lane = lane_of(stream);
  const std::size_t size = encoded_size(record);
  if (!has_room(lane, size, 1)) return false;
  auto& out = outbox_[lane];
  if (out.size() + size > mover_->shape().batch) publish(lane);
  encode(record, out);
  ++counters_.records_out;
  return true;
}

void RingLink::publish(unsigned lane) {
  auto& out = outbox_[lane];
  if (out.empty()) return;
  mover_->publish(lane, out, true);
  out.clear();
}

void RingLink::publish_all() {
  for (unsigned lane = 0; lane < lanes_; ++lane) publish(lane);
}

void RingLink::tell_all() {
  for (std::size_t left = dirty_.size(); left > 0; --left) {
    Stream& stream = *dirty_.front();
    if (!tell(stream)) {
      ++counters_.no_room;
      return;  // it stays in front
    }
    dirty_.pop_front();
    stream.in_dirty = false;
  }
}

/// All that is due, as far as there is room: false if something is left.
bool RingLink::tell(Stream& stream) {
  const auto say = [&](Op op) {
    return append(stream, {.op = op, .stream = stream.id, .bytes = {}});
  };
  if (stream.reset_due) {
    if (!append(stream, {.op = Op::kReset, .stream = stream.id, .error = ECONNRESET, .bytes = {}}))
      return false;
    stream.reset_due = false;
    stream.reset_sent = last_words_ = true;
  }
  if (stream.dying) {
    end_if_over(stream);
    return true;
  }
  if (stream.grant_due) {
    const auto& [ring, key] = *stream.grant_due;
    if (!append(stream, {.op = Op::kGrant,
                         .stream = stream.id,
                         .offset = ring.offset,
                         .size = ring.size,
                         .key = key,
                         .bytes = {}}))
      return false;
    stream.grant_due.reset();
  }
  if (!stream.finish_received && (stream.credit_due || stream.in.credit_due())) {
    if (!append(
            stream,
            {.op = Op::kCredit, .stream = stream.id, .cursor = stream.in.consumed(), .bytes = {}}))
      return false;
    stream.in.confirm();
    stream.credit_due = false;
  }
  if (stream.want_due) {
    if (!stream.out.has_ring() && !stream.out.was_granted() && !say(Op::kWant)) return false;
    stream.want_due = false;
  }
  if (stream.reclaim_due) {
    if (stream.in.has_ring() && !say(Op::kReclaim)) return false;
    stream.reclaim_due = false;
  }
  if (stream.release_due) {
    const bool moves = stream.out.was_granted();
    if (stream.out.all_confirmed() && (moves || stream.out.has_ring())) {
      // Both or none: nothing may be written into a ring that is only moved to to give it back.
      if (!has_room(lane_of(stream), 2 * kHeaderSize, 2)) return false;
      if (moves) say(Op::kMoved);
      say(Op::kRelease);
      stream.out.drop_all(*mover_);
      stream.want_sent = false;
      look_at_memory(stream);
    }
    stream.release_due = false;
  }
  if (stream.app_ended && !stream.finish_sent) {
    if (!say(Op::kFinish)) return false;
    stream.finish_sent = last_words_ = true;
    stream.out.drop_all(*mover_);
    look_at_memory(stream);
    end_if_over(stream);
  }
  return true;
}

// ---- once idle

void RingLink::tick() {
  tick_timer_ = 0;
  for (std::size_t left = tidy_.size(); left > 0; --left) {
    Stream& stream = *tidy_.front();
    tidy_.pop_front();
    if (tidy(stream))
      tidy_.push_back(&stream);
    else
      stream.in_tidy = false;
  }
  if (!tidy_.empty()) tick_timer_ = loop_.after(kTick, [this] { tick(); });
}

/// Whether it has to be looked at again.
bool RingLink::tidy(Stream& stream) {
  if (stream.dying) return false;
  if (stream.out.lacks_memory()) {
    if (!stream.out.look_for_memory(*mover_)) {
      ++counters_.violations;
      reset(stream);
      return false;
    }
    look_at_memory(stream);
    if (stream.out.has_offer()) activate(stream);
  }
  const bool quiet =
      stream.seen_sent == stream.out.sent() && stream.seen_consumed == stream.in.consumed();
  stream.seen_sent = stream.out.sent();
  stream.seen_consumed = stream.in.consumed();
  // Not idle if it only waits for its turn: with its ring it would lose nearly all of its share.
  stream.idle_ticks = quiet && !stream.in_active
                          ? static_cast<std::uint8_t>(std::min(stream.idle_ticks + 1, 100))
                          : 0;
  if (quiet && stream.in.owed() > 0 && stream.in.has_ring() && !stream.finish_received) {
    stream.credit_due = true;
    to_tell(stream);
  }
  const bool holds = stream.out.has_ring() || stream.out.was_granted();
  if (holds && stream.out.all_confirmed() && !stream.finish_sent &&
      (stream.idle_ticks >= kIdleTicks || stream.give_back)) {
    stream.release_due = true;
    stream.give_back = false;
    to_tell(stream);
  }
  return holds || (stream.in.has_ring() && stream.in.owed() > 0);
}

}  // namespace shunt::ring
