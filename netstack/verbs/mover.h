// ring::Mover over RC queue pairs: lane.h for each lane, and what they share: completion queues,
// one shared receive queue, and registered memory in both directions.
//
// Everything of a link lies in a protection domain of its own, so that a key told to one peer opens
// nothing to another, and in a shared receive queue of its own, so that a peer that ignores its
// credits exhausts nobody else's.
//
// Two completion queues on one channel: sends are armed for any completion (few are signalled, and
// an error must wake us), receives only for those that the peer marked as waking, except when the
// link waits for room.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "netstack/ring/mover.h"
#include "netstack/verbs/device.h"
#include "netstack/verbs/lane.h"
#include "netstack/verbs/memory.h"

namespace shunt::verbs {

/// What a link gets of a device; derived from its limits and the configuration.
struct LinkLimits {
  std::uint32_t region = 0;  ///< bytes; a multiple of kSlab
  unsigned lanes = 1;
  std::uint32_t depth = 256;        ///< work requests in flight per lane
  std::uint16_t credits = 128;      ///< immediates in flight per lane
  std::uint32_t ring = 64u << 10;   ///< message ring
  std::uint32_t inline_size = 256;  ///< wished for; a device may give less
};
constexpr std::uint32_t kSlab = 1u << 20;

/// Fixed for a queue pair's life.
struct Tuning {
  std::uint8_t timeout = 17;  ///< 4.096 us * 2^timeout without an answer, then it is tried again
  std::uint8_t retries = 6;   ///< 7 would mean for ever on some devices
  std::uint8_t rnr_retries = 6;
  std::uint8_t hop_limit = 64;
  std::uint8_t traffic_class = 0;

  /// How long the device bears a peer's device that does not answer. InfiniBand lets it take four
  /// times as long.
  std::chrono::nanoseconds patience() const;
  /// With a patience of `silence`, or as little less as there is: at least half of it.
  static Tuning bearing(std::chrono::milliseconds silence);
};

class VerbsMover final : public ring::Mover {
 public:
  /// Makes everything on our side. `budget` and `device` outlive the mover.
  static Result<std::unique_ptr<VerbsMover>> make(Device& device, const LinkLimits& limits,
                                                  Budget& own, Budget& mirrors);
  ~VerbsMover() override;

  /// For PROPOSE or ACCEPT; `gids` chosen by the caller.
  Result<Terms> terms(const GidPair& gids) const;
  /// With the peer's terms: the queue pairs become ready to receive and to send.
  Status connect(const GidPair& gids, const Terms& peer, std::uint32_t peer_region,
                 const Tuning& tuning);

  bool owns(const ibv_qp* pair) const;
  /// The link is over, whoever noticed; event_fd() becomes readable. The first error stays.
  void fail(Error error);

  // ring::Mover
  const Shape& shape() const override { return shape_; }
  std::span<const std::byte> region() const override { return own_.bytes(); }
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
  void must_arrive() override;
  bool arrived() override;
  Result<bool> receive(ring::Mover::Receiver& receiver) override;
  int event_fd() const override { return events_.get(); }
  bool arm(bool for_room) override;
  void disarm() override;
  std::string state() const override;
  std::vector<std::pair<std::string, std::uint64_t>> counters() const override;

 private:
  struct Adopted {
    std::uint32_t key = 0;
    std::uint32_t rings = 0;           ///< 0: retired, waits for its writes
    std::vector<std::uint64_t> until;  ///< when retired: per lane, the request to wait for
  };

  VerbsMover(Device& device, const LinkLimits& limits, Budget& own, Budget& mirrors);
  Status make_queues();
  Status make_memory();
  Result<OwnedPair> make_pair();
  Status to_init(ibv_qp* pair) const;
  Status to_ready(ibv_qp* pair, const LaneTerms& ours, const LaneTerms& theirs, const GidPair& gids,
                  const Terms& peer, const Tuning& tuning) const;
  Status post_receives(std::uint32_t count);
  bool poll(ibv_cq* queue);
  void take(const ibv_wc& completion, ring::Mover::Receiver& receiver);
  void take_failed(const ibv_wc& completion);
  Status take_message(const ibv_wc& completion, ring::Mover::Receiver& receiver);
  void retire_mirrors();

  Device& device_;
  Calls& calls_;
  LinkLimits limits_;
  Shape shape_;
  Counters counters_;

  OwnedDomain domain_;
  OwnedChannel channel_;
  OwnedCompletions sends_;
  OwnedCompletions receives_;
  OwnedReceives shared_;
  Memory own_;       ///< our region
  Memory messages_;  ///< our message rings, then the mirror of the peer's
  Memory message_mirror_;
  std::unique_ptr<Memory> mirror_;  ///< of the peer's region
  std::vector<OwnedPair> pairs_;
  std::vector<LaneTerms> numbers_;
  std::vector<Lane> lanes_;
  std::unordered_map<std::uint32_t, unsigned> lane_by_number_;
  Budget& mirror_budget_;

  std::unordered_map<std::uint32_t, Adopted> adopted_;  ///< by offset of the slab
  bool retiring_ = false;
  std::vector<ibv_wc> seen_;  ///< polled by arm(), not handled yet
  std::vector<std::byte> copy_;
  std::uint32_t to_repost_ = 0;

  UniqueFd events_;  ///< an epoll instance: the channel, and `failed_event_`
  UniqueFd failed_event_;
  bool sends_armed_ = false;
  bool receives_armed_ = false;
  bool receives_armed_all_ = false;
  Error failed_{0, nullptr};
  bool garbled_ = false;  ///< the peer's messages make no sense: none is taken any more
};

}  // namespace shunt::verbs
