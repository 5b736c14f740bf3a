// A Mover over a shared memory window (layout.h). On the fabric loop's thread.
//
// Bytes are written straight into the peer's region, records into its message ring. Waking follows
// the event-index rule: a side that goes to sleep first tells the position it has consumed, then
// looks once more; the other one rings only when it passes that position. So a busy pair never
// rings.
//
// The peer's process is noticed to be gone by the hang-up of the rendezvous connection, and to be
// stuck by its beat.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "netstack/base/event_loop.h"
#include "netstack/ring/mover.h"
#include "netstack/window/layout.h"
#include "netstack/window/peer_memory.h"

namespace shunt::window {

/// Random; sent to the peer both through the rendezvous and over the control connection: only when
/// they agree is the process at the other end of the window the peer it claims to be.
using Nonce = std::array<std::byte, 16>;

/// What a rendezvous leads to.
struct Joined {
  SharedMemory own;
  UniqueFd own_bell;  ///< an eventfd that the peer writes
  std::unique_ptr<PeerMemory> peer;
  std::uint32_t own_region = 0, peer_region = 0;
  UniqueFd connection;
  Nonce peer_nonce{};  ///< as given at the rendezvous
  std::uint32_t own_epoch = 0, peer_epoch = 0;
};

class WindowMover final : public ring::Mover {
 public:
  struct Options {
    std::uint32_t small = 1024;
    std::chrono::milliseconds beat{1000};
    int lost_beats = 6;  ///< missed beats after which the peer counts as gone
  };
  WindowMover(EventLoop& loop, Joined joined, Options options);
  ~WindowMover() override;

  const Shape& shape() const override { return shape_; }
  std::span<const std::byte> region() const override { return region_; }
  std::span<std::byte> writable(ring::Extent part) override;
  Result<std::uint32_t> commit(std::uint32_t slab_offset) override;
  void release(std::uint32_t slab_offset) override;
  Status adopt(ring::Extent ring, std::uint32_t key) override;
  void drop(ring::Extent ring) override;
  std::span<std::byte> stage(ring::Extent part) override;
  Room room(unsigned lane) const override;
  void push(unsigned lane, ring::Extent part) override;
  void publish(unsigned lane, std::span<const std::byte> records, bool wake) override;
  Status flush() override;
  Result<bool> receive(Receiver& receiver) override;
  int event_fd() const override { return joined_.own_bell.get(); }
  bool arm(bool for_room) override;
  void disarm() override {}  // the bell is watched edge-triggered and never read
  Status on_message(std::span<const std::byte> message) override;
  std::string state() const override;
  std::vector<std::pair<std::string, std::uint64_t>> counters() const override;

 private:
  std::uint64_t load(std::size_t at) const;
  bool usable() const { return verified_ && !failure_; }
  void fail(Error error);
  void wake_self() const;
  void tell_head();
  Status learn_head();
  void ring(std::uint64_t sleeps_at);
  void beat();

  EventLoop& loop_;
  Joined joined_;
  Options options_;
  Shape shape_;
  std::span<std::byte> own_;
  std::span<std::byte> region_;
  std::vector<std::byte> copy_;  ///< records, safe from the peer

  std::uint64_t tail_ = 0;       ///< what we have published
  std::uint64_t rung_ = 0;       ///< tail up to which the bell has been considered
  std::uint64_t peer_head_ = 0;  ///< of it, what the peer has consumed, as far as we know
  std::uint64_t head_ = 0;       ///< what we have consumed
  std::uint64_t told_head_ = 0;  ///< of it, what the peer knows
  int in_our_place_ = 0;         ///< how often, of late, the peer ran while we rang
  std::uint64_t seen_beat_ = 0;
  int missed_ = 0;
  std::uint64_t beats_ = 0;
  bool verified_ = false;
  std::optional<Error> failure_;
  EventLoop::Token connection_watch_ = 0;
  EventLoop::Token beat_timer_ = 0;
  struct {
    std::uint64_t bells = 0, publishes = 0, pushes = 0, pushed_bytes = 0;
  } counters_;
};

}  // namespace shunt::window
