// The pod's listening TCP sockets, named by socket cookie, and their mailboxes.
//
// A listener is entered when listen(2) or the first accept(2) on it is seen. Its close is not seen:
// every listener is also an entry of an epoll instance of ours that nobody waits on, and the kernel
// removes it there with the last descriptor of the file. So the list of the living is one read of
// /proc/self/fdinfo, and holds nothing open.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "netstack/local/mailbox.h"
#include "netstack/local/node_table.h"
#include "sandbox/left_to_kernel.h"
#include "sandbox/pod_network.h"

namespace shunt::sandbox {

class Remote;

/// A connection out of the kernel's accept queue that no program has yet.
struct Arrival {
  UniqueFd tcp;
  Endpoint client;
  Endpoint server;           ///< asked for when somebody wants to know
  bool foreign = false;      ///< the client is no Shunt pod: nothing to find out
  Remote* remote = nullptr;  ///< set: a Shunt pod of another node, which may offer
  bool no_offers = false;    ///< that has said that it will not
  std::optional<local::Offer> offer;
  std::vector<local::NodeTable::Undecided> undecided;
  std::chrono::steady_clock::time_point since{};
  std::shared_ptr<const std::monostate> arriving;  ///< the listener's
};

/// A connection of our own that makes a program look at its listener, see Acceptor.
struct Knock {
  Endpoint from;
  std::chrono::steady_clock::time_point at{};
};

struct Listener {
  std::uint64_t cookie = 0;
  int family = AF_INET;
  Endpoint local;
  std::shared_ptr<local::Mailbox> mailbox;  ///< null: not published
  /// Its program could reconfigure the node with a socket of the node's network: gets none.
  std::atomic<bool> privileged{false};
  LeftToKernel left_to_kernel;
  /// Copied before a connection is taken out of the kernel's queue and held until a program has it:
  /// meanwhile it has an offer and waits in no queue.
  std::shared_ptr<const std::monostate> arriving = std::make_shared<const std::monostate>();
  int armed_as = -1;  ///< the Acceptor's, under its mutex
  std::mutex mutex;
  std::deque<Arrival> returned;  ///< accepted for somebody who went away; next in line
  std::deque<Knock> knocks;
};

class Listeners {
 public:
  Listeners();

  /// One that was entered before; null otherwise.
  std::shared_ptr<Listener> find(std::uint64_t cookie) const;

  /// The listener behind `socket` (ours, a duplicate), entered and published if it is new. Null if
  /// it cannot be told. Call it inside the private namespace.
  std::shared_ptr<Listener> enter(int socket, PodNetwork* network);

  /// Forgets listeners that were closed; their mailboxes go with the last one of a port. Offers
  /// whose connection died in the queue of a closed listener, while others of its port live, are
  /// closed.
  void sweep(PodNetwork* network);

  /// Of the published listeners of a port; null if there is none.
  std::shared_ptr<local::Mailbox> mailbox(std::uint16_t port, int family) const;

  /// Whether one of them is of a privileged program.
  bool privileged(std::uint16_t port, int family) const;

  std::vector<std::shared_ptr<Listener>> all() const;

  /// Whether no more than one is entered. Takes no lock. One that is not entered gets no offers.
  bool is_only_one() const { return count_.load() <= 1; }

 private:
  bool forget_closed(PodNetwork* network);  // requires mutex_

  mutable std::mutex mutex_;
  UniqueFd living_;  ///< the epoll instance
  std::unordered_map<std::uint64_t, std::shared_ptr<Listener>> listeners_;
  std::atomic<std::size_t> count_{0};  ///< of listeners_
  std::map<std::pair<std::uint16_t, int>, std::weak_ptr<local::Mailbox>> mailboxes_;
};

}  // namespace shunt::sandbox
