// The questions and answers about single connections on one control connection, in both directions:
// who may say what when, numbers of streams, bounds. WIRE.md, "Streams".
//
// Knows nothing of sockets or links but their names; on the thread of the loop.
#pragma once

#include <bitset>
#include <chrono>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "netstack/base/event_loop.h"
#include "netstack/control/message.h"
#include "netstack/control/peers.h"

namespace shunt::control {

/// Which numbers of the peer's have been used: each once, and none far below the highest.
class UsedIds {
 public:
  static constexpr StreamId kWindow = 4096;
  /// True the first time. Requires: all numbers odd, or all even.
  bool use(StreamId id);
  StreamId highest() const { return highest_; }

 private:
  static constexpr std::size_t kBits = kWindow / 2;
  std::bitset<kBits> used_;  ///< of id at (id / 2) modulo kBits
  StreamId highest_ = 0;
};

class Offers {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void send_to_peer(const Message& message) = 0;
    virtual void send_with_next(const Message& message) = 0;  ///< nobody waits for it
    /// The peer let an offer of ours, made at `since`, wait for too long.
    virtual void on_no_answer(EventLoop::Clock::time_point since) = 0;
  };
  enum class Verdict : std::uint8_t { kOk, kProtocol, kFlood };
  struct LinkName {
    Kind kind{};
    std::uint64_t session = 0;
    bool operator==(const LinkName&) const = default;
  };
  struct Setup {
    bool dialled = false;          ///< by us: odd numbers are ours
    std::uint32_t peer_takes = 0;  ///< open offers of ours
    std::uint32_t we_take = 0;
    std::chrono::milliseconds answer{};
  };

  Offers(EventLoop& loop, Owner& owner, Setup setup);
  ~Offers();  ///< drops callbacks uncalled: end_all() first
  Offers(const Offers&) = delete;
  Offers& operator=(const Offers&) = delete;

  /// A number for a stream of ours; 0: none left on this connection.
  StreamId next();

  // Ours
  void offer(const LinkName& link, Offer offer, Peers::Answered done);
  void confirm(StreamId id);
  void withdraw(StreamId id);
  Verdict on(Accept message);
  Verdict on(const Refuse& message);

  // The peer's. kOk from on_offer(): it is open, accept() or refuse() it.
  Verdict on_offer(const LinkName& link, StreamId id);
  bool accept(const LinkName& link, StreamId id, int server_family, Bytes message);
  /// Since when the peer has owed its word about one that was accepted.
  std::optional<EventLoop::Clock::time_point> undecided_since() const;
  void refuse(const LinkName& link, StreamId id, Refusal why);
  /// `was`: the link it was open on; empty kind and session 0 if it was not open any more.
  Verdict on(const Confirm& message, LinkName& was);
  Verdict on(const Withdraw& message, LinkName& was);

  /// The link is gone: ours end with kLost, the peer's are forgotten.
  void end(const LinkName& link);
  void end_all();

  struct Counts {
    std::uint64_t offered = 0, accepted = 0, refused = 0, unanswered = 0, asked = 0, granted = 0;
  };
  const Counts& counts() const { return counts_; }
  std::size_t open() const { return mine_.size() + theirs_.size(); }

 private:
  struct Mine {
    LinkName link;
    Peers::Answered done;  ///< empty once it has been called
  };
  struct Theirs {
    LinkName link;
    std::optional<EventLoop::Clock::time_point> accepted;
  };
  bool is_mine(StreamId id) const { return (id % 2 == 1) == setup_.dialled; }
  template <typename Which>
  void end_if(Which which);
  void arm();
  void on_late();

  EventLoop& loop_;
  Owner& owner_;
  Setup setup_;
  StreamId next_;
  StreamId highest_sent_ = 0;
  UsedIds theirs_used_;
  std::unordered_map<StreamId, Mine> mine_;
  std::unordered_map<StreamId, Theirs> theirs_;
  std::vector<std::pair<EventLoop::Clock::time_point, StreamId>> deadlines_;  ///< in order
  std::size_t deadlines_done_ = 0;  ///< the first so many are over
  EventLoop::Token timer_ = 0;
  Counts counts_;
};

}  // namespace shunt::control
