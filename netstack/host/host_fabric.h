// Fabric kHost: plain TCP connections between the nodes' own addresses, handed to both
// applications. No process of ours is in the data path.
//
// Connections are made ahead: each side of a link dials some to the other one's listener, so that a
// stream only has to name one. Who dialled shows a token that was told to the other side over the
// control connection; it works once, for some seconds, from the node's address that the peer
// advertised. A connection is used by the side that dialled it, and only after the other side has
// said that it arrived there.
//
// Sockets are AF_INET6 (IPv4 mapped) where the kernel has it; as_family() makes them what the
// application had. They belong to the reserved user and are pinned to their peer: see guard.h.
//
// One per shim. Everything runs on the thread of the loop, which may be in any network namespace.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "netstack/base/event_loop.h"
#include "netstack/base/netns.h"
#include "netstack/fabric/fabric.h"
#include "netstack/host/guard.h"
#include "netstack/host/message.h"

namespace shunt::host {

struct HostOptions {
  int node_netns = -1;  ///< borrowed while the fabric lives
  std::string address;  ///< empty: found out
  PortRange ports{7472, 256};
  bool guarded = true;  ///< false: without nftables
};

/// Makes a connection of the fabric what an application of `family` expects. EAFNOSUPPORT: an
/// AF_INET socket cannot be had between IPv6 nodes.
Status as_family(int socket, int family);

class HostLink;

class HostFabric final : public fabric::Fabric {
 public:
  /// A sentence if this node cannot offer it.
  static Result<std::unique_ptr<HostFabric>, std::string> create(EventLoop& loop,
                                                                 HostOptions options);
  ~HostFabric() override;

  fabric::Kind kind() const override { return fabric::Kind::kHost; }
  fabric::Bytes advertise() const override;
  Result<std::monostate, std::string> fits(fabric::View hello) const override;
  void link(fabric::LinkSetup setup, fabric::LinkDone done) override;

  const Endpoint& listener() const { return own_; }
  int family() const { return family_; }
  /// Incoming connections that showed no token we know.
  std::uint64_t strangers() const { return strangers_; }

 private:
  friend class HostLink;
  using Clock = std::chrono::steady_clock;
  struct Expected {
    HostLink* link = nullptr;
    Number number = 0;
    IpAddress from{};
    Clock::time_point until{};
  };
  struct Arriving {  // accepted, its token not seen or not known yet
    UniqueFd socket;
    Endpoint from;
    EventLoop::Token watch = 0;
    Clock::time_point until{};
  };
  struct TokenHash {
    std::size_t operator()(const Token& token) const noexcept;
  };

  HostFabric(EventLoop& loop, HostOptions options);
  Result<Done, std::string> open();
  Status listen();

  // For links.
  /// Whether new sockets may be handed out now: the guard is there, or is not wanted.
  bool may_dial();
  struct Dials {
    std::vector<UniqueFd> started;  ///< connecting
    Error error{0, "dial"};         ///< why they are fewer than asked for
  };
  Dials start_dials(const Pin& peer, std::size_t count);
  Status start_dial(int socket, const Pin& peer) const;
  /// False: too many are expected.
  bool expect(HostLink& link, const Ticket& ticket, const IpAddress& from);
  void forget(HostLink& link);

  void accept_ready();
  void read_preface(std::uint64_t key);
  void settle(UniqueFd socket, const Endpoint& from, const Token& token);
  void sweep();

  EventLoop& loop_;
  HostOptions options_;
  int family_ = AF_INET6;
  Endpoint own_;
  UniqueFd listener_;
  std::unique_ptr<Guard> guard_;
  Clock::time_point guard_looked_at_{};
  std::unordered_map<Token, Expected, TokenHash> expected_;
  std::unordered_map<std::uint64_t, Arriving> arriving_;
  std::unordered_map<Token, Arriving, TokenHash> unclaimed_;  // before its ticket has come
  std::uint64_t last_key_ = 0;
  std::uint64_t strangers_ = 0;
  EventLoop::Token watch_ = 0;
  EventLoop::Token timer_ = 0;
};

}  // namespace shunt::host
