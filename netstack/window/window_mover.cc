// Everything read from our own window was written by the peer and is a claim: positions are checked
// against what can be, and records are copied before they are looked at.
#include "netstack/window/window_mover.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

namespace shunt::window {
namespace {
/// Consumed records are told in steps, not one by one.
constexpr std::uint64_t kHeadStep = kMessages / 8;

/// Bytes worth a bell in the middle of a turn. A peer with a CPU of its own begins with the first
/// ones while we go on; one that shares ours only takes it away from us, and two switches of
/// processes cost as much as copying 64 KiB.
constexpr std::uint32_t kBurstApart = 1;
constexpr std::uint32_t kBurstTogether = 256u << 10;

/// What a bell by which the peer ran in our place counts against one by which it did not, and from
/// when on we believe that it shares our CPU.
constexpr int kTogether = 2, kApart = 1, kEnough = 8, kMost = 16;
}  // namespace

WindowMover::WindowMover(EventLoop& loop, Joined joined, Options options)
    : loop_{loop},
      joined_{std::move(joined)},
      options_{options},
      own_{joined_.own.bytes()},
      region_{own_.subspan(kRegionAt, joined_.own_region)},
      copy_(kMessages) {
  shape_ = {.own = joined_.own_region,
            .peer = joined_.peer_region,
            .slab = kSlab,
            .small = options.small,
            .batch = 16u << 10};
  // Nothing is ever said on this connection after the rendezvous: any event is the end.
  const auto watch =
      loop_.watch(joined_.connection.get(), EPOLLIN | EPOLLRDHUP, [this](std::uint32_t) {
        fail({ECONNRESET, "window peer"});
      });
  if (watch)
    connection_watch_ = *watch;
  else
    fail(watch.error());
  joined_.peer->store(kReadyAt, kMagic);
  beat();
}

WindowMover::~WindowMover() {
  loop_.forget(connection_watch_);
  loop_.forget(beat_timer_);
}

std::uint64_t WindowMover::load(std::size_t at) const {
  return std::atomic_ref{*reinterpret_cast<std::uint64_t*>(own_.data() + at)}.load(
      std::memory_order_acquire);
}

void WindowMover::fail(Error error) {
  if (failure_) return;
  failure_ = error;
  loop_.forget(connection_watch_);
  loop_.forget(beat_timer_);
  connection_watch_ = beat_timer_ = 0;
  wake_self();
}

void WindowMover::wake_self() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto ignored = ::write(joined_.own_bell.get(), &one, sizeof one);
}

void WindowMover::beat() {
  beat_timer_ = loop_.after(options_.beat, [this] {
    beat_timer_ = 0;
    const std::uint64_t theirs = load(kBeatAt);
    missed_ = theirs == seen_beat_ ? missed_ + 1 : 0;
    seen_beat_ = theirs;
    // A peer that began anew has another epoch; it starts from nothing, and so must the link.
    if (theirs != 0 && load(kEpochAt) != joined_.peer_epoch)
      return fail({ECONNRESET, "window epoch"});
    if (missed_ >= options_.lost_beats) return fail({ETIMEDOUT, "window peer"});
    beat();
  });
  joined_.peer->store(kEpochAt, joined_.own_epoch);
  joined_.peer->store(kBeatAt, ++beats_);
}

// ---- memory

std::span<std::byte> WindowMover::writable(ring::Extent part) {
  return region_.subspan(part.offset, part.size);
}

Result<std::uint32_t> WindowMover::commit(std::uint32_t /*slab_offset*/) {
  return std::uint32_t{0};
}

void WindowMover::release(std::uint32_t slab_offset) {
  joined_.own.discard(kRegionAt + slab_offset, kSlab);
}

Status WindowMover::adopt(ring::Extent /*ring*/, std::uint32_t key) {
  if (key != 0) return Error{EPROTO, "ring key"};
  return Done{};
}

void WindowMover::drop(ring::Extent /*ring*/) {}

std::span<std::byte> WindowMover::stage(ring::Extent part) {
  return joined_.peer->stage(kRegionAt + part.offset, part.size);
}

// ---- sending

Status WindowMover::learn_head() {
  const std::uint64_t head = load(kHeadAt);
  if (head < peer_head_ || head > tail_) return Error{EPROTO, "window head"};
  peer_head_ = head;
  return Done{};
}

ring::Mover::Room WindowMover::room(unsigned /*lane*/) const {
  if (!usable()) return {};
  return {kMessages - (tail_ - peer_head_), 1u << 20};
}

void WindowMover::push(unsigned /*lane*/, ring::Extent part) {
  joined_.peer->wrote(kRegionAt + part.offset, part.size);
  ++counters_.pushes;
  counters_.pushed_bytes += part.size;
}

void WindowMover::publish(unsigned /*lane*/, std::span<const std::byte> records, bool /*wake*/) {
  ++counters_.publishes;
  for (std::size_t left = records.size(); left > 0;) {
    const std::size_t at = tail_ % kMessages;
    const std::size_t size = std::min(left, kMessages - at);
    const auto place = joined_.peer->stage(kMessagesAt + at, size);
    std::memcpy(place.data(), records.data() + (records.size() - left), size);
    joined_.peer->wrote(kMessagesAt + at, size);
    tail_ += size;
    left -= size;
  }
  joined_.peer->store(kTailAt, tail_);
  if (kMessages - (tail_ - peer_head_) < kMessages / 2)
    if (const Status learned = learn_head(); !learned) fail(learned.error());
}

Status WindowMover::flush() {
  if (failure_) return *failure_;
  if (rung_ == tail_) return Done{};
  // Our tail must be visible before we look whether the peer sleeps: it tells where it sleeps
  // before it looks at our tail.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint64_t sleeps_at = load(kWakeAt);
  if (rung_ <= sleeps_at && sleeps_at < tail_) ring(sleeps_at);
  rung_ = tail_;
  return Done{};
}

/// Also finds out whether the peer shares our CPU: then it has often done its work and sleeps again
/// when the bell's system call returns, which is much too soon for one that is woken elsewhere.
void WindowMover::ring(std::uint64_t sleeps_at) {
  joined_.peer->ring();
  ++counters_.bells;
  const bool ran = load(kWakeAt) > sleeps_at;
  in_our_place_ = std::clamp(in_our_place_ + (ran ? kTogether : -kApart), 0, kMost);
  shape_.burst = in_our_place_ >= kEnough ? kBurstTogether : kBurstApart;
}

// ---- receiving

Result<bool> WindowMover::receive(Receiver& receiver) {
  // A peer that ended has published everything before.
  if (failure_ && (failure_->number != ECONNRESET || !verified_)) return *failure_;
  if (!verified_) return false;
  if (const Status learned = learn_head(); !learned) return learned.error();
  const std::uint64_t tail = load(kTailAt);
  if (tail == head_) {
    if (failure_) return *failure_;
    return false;
  }
  if (tail < head_ || tail - head_ > kMessages || tail % 8 != 0)
    return Error{EPROTO, "window tail"};
  const std::size_t size = tail - head_;
  const std::size_t at = head_ % kMessages;
  const std::size_t first = std::min(size, kMessages - at);
  std::memcpy(copy_.data(), own_.data() + kMessagesAt + at, first);
  std::memcpy(copy_.data() + first, own_.data() + kMessagesAt, size - first);
  head_ = tail;
  if (head_ - told_head_ >= kHeadStep) tell_head();
  receiver.on_records(0, std::span{copy_}.first(size));
  return true;
}

void WindowMover::tell_head() {
  if (told_head_ == head_) return;
  joined_.peer->store(kHeadAt, head_);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint64_t waits_at = load(kRoomWakeAt);
  if (told_head_ <= waits_at && waits_at < head_) {
    joined_.peer->ring();
    ++counters_.bells;
  }
  told_head_ = head_;
}

bool WindowMover::arm(bool for_room) {
  if (failure_) return false;
  if (!verified_) return true;
  tell_head();
  joined_.peer->store(kWakeAt, head_);
  if (for_room) joined_.peer->store(kRoomWakeAt, peer_head_);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return load(kTailAt) == head_ && (!for_room || load(kHeadAt) == peer_head_);
}

// ---- for the control connection and for people

Status WindowMover::on_message(std::span<const std::byte> message) {
  if (verified_ || message.size() != joined_.peer_nonce.size() ||
      !std::equal(message.begin(), message.end(), joined_.peer_nonce.begin()))
    return Error{EPROTO, "window message"};
  verified_ = true;
  wake_self();
  return Done{};
}

std::string WindowMover::state() const {
  if (failure_) return describe(*failure_);
  return verified_ ? "up" : "waiting for the peer's word";
}

std::vector<std::pair<std::string, std::uint64_t>> WindowMover::counters() const {
  return {{"bells rung", counters_.bells},
          {"publishes", counters_.publishes},
          {"pushes", counters_.pushes},
          {"bytes pushed", counters_.pushed_bytes},
          {"peer ran in our place", static_cast<std::uint64_t>(in_our_place_)},
          {"beats missed", static_cast<std::uint64_t>(missed_)}};
}

}  // namespace shunt::window
