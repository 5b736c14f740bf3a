// The letter box of one published listener: where clients leave the server's end of a fast pair.
//
// It exists exactly while the listener is published, and vanishes with the supervisor: connecting
// to it is at once the question "is this listener supervised?" and the offer. Offers are found by
// the addresses of the TCP connection they replace, so a group of listeners on one port
// (SO_REUSEPORT, several containers) shares a mailbox and each takes its own.
//
// Any thread may use it; open() must be called inside the private namespace.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/base/move_function.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "netstack/local/fast_name.h"
#include "netstack/local/fast_socket.h"

namespace shunt::local {

/// What the shim of a client on another node has said about its offer.
enum class Decision : std::uint8_t {
  kPending,    ///< nothing yet
  kConfirmed,  ///< the client's program has its end
  kWithdrawn,  ///< it has the TCP connection
  kLost,       ///< that shim cannot be heard any more
};

/// The server's end, and what it stands for.
struct Offer {
  UniqueFd socket;
  Endpoint client;
  Endpoint server;
  PairKind kind = PairKind::kUnix;
  std::chrono::steady_clock::time_point taken{};  ///< out of the kernel's queue
  /// Null: of this node, where the kernel tells.
  std::shared_ptr<const std::atomic<Decision>> decision;
  /// If set, gets the socket of an offer that died with its listener: where closing it would look
  /// like a program's goodbye to the other end. Any thread.
  MoveFunction<void(UniqueFd)> unclaimed{};
};

class Mailbox {
 public:
  /// `addresses`: where the listener can be reached from other pods, for pairs of kind tcp.
  static Result<std::unique_ptr<Mailbox>> open(std::uint64_t netns, std::uint16_t port, int family,
                                               std::span<const IpAddress> addresses);

  Mailbox() = default;  ///< open() makes them
  ~Mailbox();           ///< what lies here dies with the listener
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// The offer for this connection, if there is one.
  std::optional<Offer> take(const Endpoint& client, const Endpoint& server);
  /// The same, if it was put() here: costs no system call.
  std::optional<Offer> take_put(const Endpoint& client, const Endpoint& server);
  void give_back(Offer offer);
  /// An offer that did not come through the kernel's queue. False: too many lie here, or it is shut
  /// or has been since `seen`, what turns() said before the offer's connection was found not to be
  /// accepted yet.
  bool put(Offer offer, std::uint64_t seen);

  /// From now on nothing is put here, if nothing lies here now (else false). Shut twice, it has to
  /// be opened twice. Offers of this node are kept away by the node table meanwhile.
  bool shut();
  void open_again();
  /// How often it was shut or opened.
  std::uint64_t turns() const { return turns_.load(); }

  /// Closes offers that have been lying here for so long. For when no connection waits to be
  /// accepted: whatever they belong to died with a listener of the group. True: some are left.
  bool drop_older(std::chrono::milliseconds age);

 private:
  static void drop(Offer& offer);
  std::optional<Offer> take_held(const Endpoint& client, const Endpoint& server);  ///< with mutex_
  /// Empties the kernel's queue into `offers_`, up to one that `stop` wants. Requires mutex_.
  template <typename Stop>
  std::optional<Offer> drain(Stop stop);

  UniqueFd unix_;
  std::vector<UniqueFd> tcp_;
  std::mutex mutex_;
  std::vector<Offer> offers_;
  int shut_ = 0;
  std::atomic<std::uint64_t> turns_{0};
};

/// What a peek into the receive queue of a stream socket says.
enum class Peek {
  kSilent,  ///< connected, nothing there
  kData,
  kEnd,    ///< the peer closed
  kReset,  ///< the peer is gone without a goodbye
};
Peek peek(int socket);

}  // namespace shunt::local
