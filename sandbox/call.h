// One trapped call on its way through a handler, and what handlers may use.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "netstack/base/socket_calls.h"
#include "sandbox/guest.h"
#include "sandbox/notify.h"
#include "sandbox/pod_network.h"
#include "sandbox/process_guest.h"
#include "sandbox/reply.h"
#include "sandbox/socket_notes.h"
#include "sandbox/statistics.h"

namespace shunt::sandbox {

class Acceptor;
class ConnectsInHand;
class EpollCache;
struct Listener;
class Listeners;
class MoreRoom;
class Remote;
class ShortLived;

/// One filter's users: a container, or an exec into it.
struct Container {
  Container(std::string name, NotifyFd descriptor, config::Pair kind)
      : id{std::move(name)}, notify{std::move(descriptor)}, pair{kind} {}
  std::string id;
  NotifyFd notify;
  config::Pair pair;  ///< of the connections it makes
  /// Its connects run in the kernel only: somebody in it restricted what it may connect to in a way
  /// that a connect on its behalf would not be subject to (Landlock).
  std::atomic<bool> plain{false};

  /// Whether its programs could reconfigure the node with a socket of the node's network. Found out
  /// once, from the first one that asks.
  bool may_reconfigure_node(pid_t tid);

 private:
  enum class Rights : std::uint8_t { kUnknown, kNone, kSome };
  std::atomic<Rights> rights_{Rights::kUnknown};
};

/// What belongs to one thread that answers calls.
struct Worker {
  SocketCalls calls;
  PidfdCache pidfds;
  UniqueFd watch{::epoll_create1(EPOLL_CLOEXEC)};  ///< see LettingGo
  std::optional<std::size_t> line;         ///< of the node table; without one nothing is upgraded
  std::weak_ptr<Listener> left_to_kernel;  ///< the last one whose accept was
};

/// Names a call that waits for its answer; may be kept and answered from any thread.
struct CallId {
  std::shared_ptr<Container> container;
  std::uint64_t id = 0;
  pid_t tid = 0;
  std::size_t row = 0;                            ///< in the syscall table
  std::chrono::steady_clock::time_point since{};  ///< trapped; zero: it had to wait

  bool waiting() const { return container->notify.waiting(id); }
};

/// What belongs to the supervisor. `network` is null if the pod does not upgrade.
struct Services {
  PodNetwork* network = nullptr;
  Remote* remote = nullptr;  ///< null: nothing goes across nodes
  Statistics& statistics;
  SocketNotes& notes;
  UnheardConnects& unheard;
  ConnectsInHand& connects;
  EpollCache& epolls;
  Listeners& listeners;
  Acceptor& acceptor;
  ShortLived* short_lived = nullptr;  ///< null: every connection is upgraded that can be
  /// Handles a call that a handler kept once more, from the beginning. Any thread.
  std::function<void(CallId, const std::array<std::uint64_t, 6>&)> again;
  MoreRoom* more_room = nullptr;  ///< null: what fast connections get first is all
};

struct Call {
  const CallId& identity;
  Guest& guest;
  std::array<std::uint64_t, 6> args{};
  Worker& worker;
  Services& services;

  Container& container() const { return *identity.container; }
  GuestFd fd() const { return GuestFd{static_cast<int>(args[0])}; }
  /// The kernel takes the lower half of the register for an int.
  int integer(std::size_t index) const { return static_cast<int>(args[index]); }
};

/// Sends the answer and counts it. Later is not an answer.
void deliver(Services& services, const CallId& call, Reply reply);

}  // namespace shunt::sandbox
