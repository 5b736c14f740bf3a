// The other Shunt pods that one pod talks to, and the control connection to each.
//
// Finds out whether an address is a Shunt pod on another node, keeps one control connection to each
// such pod, sets up the links of all fabrics that fit on both sides, and carries the questions and
// answers about single TCP connections. The bytes are in netstack/WIRE.md.
//
// Everything here runs on the thread of one EventLoop, and calls back there; a callback may come
// before the function that takes it has returned. The object may not be destroyed from a callback.
//
//   client's side                              server's side
//   discover(address)          -- HELLO .. -->
//   route(address) -> Route
//   link(route)->open(...)
//   offer(route, ...)          --- OFFER --->  Delegate::on_offer -> link(route)->accept(...)
//     callback                 <-- ACCEPT ---  accept(route, ...)   or refuse(route, ...)
//   link(route)->complete(...)
//   confirm(route)             -- CONFIRM -->  Delegate::on_confirm
//   or withdraw(route)         -- WITHDRAW ->  Delegate::on_withdraw
//   or, with no offer: pass()  ---- PASS --->  Delegate::on_pass
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/base/event_loop.h"
#include "netstack/base/move_function.h"
#include "netstack/base/result.h"
#include "netstack/control/message.h"
#include "netstack/fabric/fabric.h"

namespace shunt::control {

enum class State : std::uint8_t {
  kUnknown,  ///< nobody asked yet, or it is being asked
  kNot,      ///< no Shunt pod, or not to be reached: for a while nobody asks again
  kShunt,    ///< a control connection is up
};

/// Says which stream of which link of which peer. Void once the link or the connection is gone: a
/// void route is harmless everywhere, link() gives nullptr for it.
struct Route {
  IpAddress peer{};
  std::uint64_t session = 0;  ///< counts links that came up, never reused
  Kind kind{};
  StreamId stream = 0;
  bool operator==(const Route&) const = default;
};

/// What the user of Peers learns without having asked.
class Delegate {
 public:
  virtual ~Delegate() = default;
  /// state(address) changed: for a copy that other threads can read. kNot also turns back into
  /// kUnknown by time alone, which is not told: see Timing::forget.
  virtual void on_state(const IpAddress& peer, State state) = 0;
  /// A connection of the peer's client to this pod. accept() or refuse() it, now or soon; nothing
  /// about it has been checked but that it is well formed and that the link is up.
  virtual void on_offer(const Route& route, const Offer& offer) = 0;
  /// After accept(): exactly one of these, on_link_down included. Also for an offer that has no
  /// answer yet: it is then withdrawn.
  virtual void on_confirm(const Route& route) = 0;
  virtual void on_withdraw(const Route& route) = 0;
  virtual void on_pass(const IpAddress& peer, const Endpoint& client, const Endpoint& server) = 0;
  /// A link can be used now / is about to be destroyed (with all its streams): routes of this
  /// session are void. Offers of ours on it have been answered with Refusal::kLost before.
  virtual void on_link_up(const IpAddress& peer, std::uint64_t session, Kind kind) = 0;
  virtual void on_link_down(const IpAddress& peer, std::uint64_t session, Kind kind) = 0;
  /// The control connection ended, after on_link_down for all its links.
  virtual void on_lost(const IpAddress& peer) = 0;
};

struct Identity {
  std::string node;         ///< shown to people
  std::uint64_t epoch = 0;  ///< boot of the node
  std::string pod;          ///< "namespace/name"
};

struct Timing {
  std::chrono::milliseconds wait{20};         ///< discover() answers within this
  std::chrono::milliseconds handshake{1000};  ///< a call that takes longer is given up
  std::chrono::milliseconds answer{100};      ///< offer() answers within this
  std::chrono::milliseconds decide{30'000};   ///< a peer that lets accept() wait longer is given up
  std::chrono::milliseconds forget{60'000};   ///< how long kNot holds
  std::chrono::milliseconds ping{2000};       ///< after so much silence, if used
  std::chrono::milliseconds recent{60'000};   ///< what counts as recent use
  std::chrono::milliseconds idle{300'000};    ///< an unused connection is closed
  std::chrono::milliseconds redial{100};      ///< first pause after a loss; doubled each time
  std::chrono::milliseconds redial_max{5000};
  /// After so much the peer is given up.
  std::chrono::milliseconds silence() const { return 3 * ping; }
};

struct Limits {
  std::size_t peers = 1024;        ///< connections up or being made
  std::size_t not_shunt = 4096;    ///< addresses remembered as kNot; the oldest go first
  std::size_t strangers = 512;     ///< incoming connections that have not proved who they are
  std::size_t strangers_each = 8;  ///< of these, from one address
  std::size_t dials = 256;         ///< calls under way
  std::uint32_t offers = 1024;     ///< of one peer, waiting for our answer or its word
  std::size_t queue =
      1024UL * 1024;  ///< bytes that wait to be sent to one peer, before it is given up
  std::size_t early = 256UL * 1024;  ///< bytes kept for one link that is not there yet
};

struct Options {
  std::vector<IpAddress> addresses;  ///< of the pod
  int netns = -1;                    ///< of the pod; borrowed while the object lives
  std::uint16_t port = 7471;
  std::string key;                       ///< cluster key; empty: identity by calling back
  std::vector<fabric::Fabric*> fabrics;  ///< in order of preference; borrowed
  Identity self;
  Timing timing;
  Limits limits;
};

/// For `inspect`.
struct Counters {
  std::uint64_t dials = 0;
  std::uint64_t refused = 0;   ///< dials answered with a reset
  std::uint64_t silent = 0;    ///< dials with no answer in time
  std::uint64_t accepted = 0;  ///< incoming connections
  std::uint64_t forged = 0;    ///< of these, callers nobody vouched for
  std::uint64_t wrong_key = 0;
  std::uint64_t version = 0;     ///< no common version
  std::uint64_t misbehaved = 0;  ///< peers given up for what they sent
  std::uint64_t lost = 0;        ///< connections that were up
  std::uint64_t crowded = 0;     ///< turned away for a limit
};
struct FabricView {
  Kind kind{};
  std::string state;  ///< "up", "setting up", "waiting", "no"
  std::string why;    ///< a sentence, unless it is up
  std::uint32_t attempts = 0;
  std::optional<fabric::LinkView> link;
};
struct PeerView {
  IpAddress address{};
  State state = State::kUnknown;
  std::string phase;  ///< "calling", "up", "lost", "refused", ...
  std::string why;    ///< a sentence, unless it is up
  std::string node;
  std::string pod;
  bool dialled = false;  ///< by us
  std::uint16_t version = 0;
  std::chrono::steady_clock::time_point since{};  ///< in this phase
  std::optional<std::chrono::microseconds> round_trip;
  std::vector<FabricView> fabrics;
  std::uint64_t offered = 0, accepted = 0, refused = 0, unanswered = 0;  ///< our offers
  std::uint64_t asked = 0, granted = 0;                                  ///< the peer's
  std::uint64_t passed = 0, frames_in = 0, frames_out = 0;
};
struct PeersView {
  std::vector<PeerView> peers;      ///< connected, being called, or called again later
  std::vector<PeerView> not_shunt;  ///< at most the youngest hundred
  std::size_t not_shunt_total = 0;
  Counters counters;
};

class Peers {
 public:
  /// Listens. EADDRINUSE: something in the pod has the port: no upgrades across nodes.
  /// EADDRNOTAVAIL, and errors of setns(2) likewise. `loop`, `delegate` and `options.fabrics` must
  /// outlive the object.
  static Result<std::unique_ptr<Peers>> open(EventLoop& loop, Options options, Delegate& delegate);
  ~Peers();  ///< says goodbye to everybody; links end, the delegate is not told
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  State state(const IpAddress& peer) const;

  /// Calls back within Timing::wait: at once if it is known, else when the peer's first link is up,
  /// it turns out to be no Shunt pod, or the time is over (then it is kNot for a while, though the
  /// call goes on in the background and may still succeed).
  using Discovered = MoveFunction<void(State)>;
  void discover(const IpAddress& peer, Discovered done);

  /// A stream on the best link to a peer, for a connection of ours. `only`: fabrics that may be
  /// used, in the options' order; empty for all. ENOTCONN: no link is up, or the peer has not
  /// answered lately.
  Result<Route> route(const IpAddress& peer, std::span<const Kind> only = {});
  /// nullptr if the route is void. Valid until control goes back to the loop.
  fabric::Link* link(const Route& route);

  /// Sends an offer (stream and kind are taken from the route). Calls back once, within
  /// Timing::answer. After a refusal of any kind nothing more is to be said about the stream, only
  /// link(route)->abandon().
  using Answered = MoveFunction<void(Result<Accept, Refusal>)>;
  void offer(const Route& route, Offer offer, Answered done);
  void confirm(const Route& route);  ///< after Accept
  void withdraw(
      const Route& route);  ///< after Accept, or before any answer: the callback is dropped
  /// See Pass.
  void pass(const IpAddress& peer, const Endpoint& client, const Endpoint& server);

  /// Answers to on_offer. Void routes and offers that are answered or withdrawn already are
  /// ignored; accept() then gives false, and the caller undoes what it did.
  bool accept(const Route& route, int server_family, Bytes message);
  void refuse(const Route& route, Refusal why);

  PeersView view() const;
  /// Whether ending now would lose what applications that have ended still had to say.
  bool owes() const;

 private:
  class Impl;
  explicit Peers(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shunt::control
