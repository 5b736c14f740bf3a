// Accepting on behalf of programs: which of the two ends they get, and calls that have to wait.
//
// An accepted TCP connection from a pod of this node is one of
//   offered      the client's supervisor left a fast end in the mailbox. It is handed out as soon
//   as
//                the client has really been given its own end: then its TCP socket is reset, or
//                data arrives on the fast end. If the client's end closes instead, the offer was
//                taken back, and the TCP connection counts.
//   undecided    the client's supervisor is still at it (NodeTable's lines): wait, 20 ms at most
//   plain        neither: hand out TCP
// All of that can be read from kernel objects at any time, so a connection that was accepted for a
// call which was then interrupted goes back to the head of the line and is judged again.
//
// Calls that must wait are kept here and answered by the event loop's thread; no thread blocks.
// The members marked "any thread" are called by every answering thread.
//   parked   nothing to accept. The listener is an entry of `ready_`, one shot per arming; no
//            duplicate of it is kept, so it closes with its last program. When it becomes readable
//            it is fetched again.
//   judging  a connection whose client has not decided: its TCP socket is an entry of `ready_`,
//            since the decision arrives as a reset.
#pragma once

#include <fcntl.h>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "netstack/base/event_loop.h"
#include "sandbox/call.h"
#include "sandbox/listeners.h"
#include "sandbox/verdict.h"

namespace shunt::sandbox {

/// What the guest asked for.
struct AcceptRequest {
  CallId call;
  int number = -1;            ///< of the listener
  int flags = 0;              ///< SOCK_NONBLOCK, SOCK_CLOEXEC
  std::uint64_t address = 0;  ///< guest addresses, 0: not wanted
  std::uint64_t length = 0;
};

class Acceptor {
 public:
  /// `loop` runs on the thread that owns `worker`. `post` runs a function there, from any thread.
  Acceptor(EventLoop& loop, Worker& worker, std::function<void(std::function<void()>)> post)
      : loop_{loop}, worker_{worker}, post_{std::move(post)} {}
  /// Before the loop runs.
  Status start(Services* services);

  /// Any thread. `socket` is a duplicate of the listener.
  Reply accept(Call& call, AcceptRequest request, std::shared_ptr<Listener> listener,
               UniqueFd socket);

  /// Any thread. Nothing of this listener waits here.
  bool has_nothing_of(Listener& listener);

  /// Any thread: connections that wait for a verdict are judged again.
  void nudge();

  /// Loop thread, now and then: lets go of calls whose thread was interrupted or died.
  void drop_gone();

 private:
  struct Queue {  // calls that wait for a connection on one listener
    std::shared_ptr<Listener> listener;
    std::deque<AcceptRequest> calls;
  };
  struct Judging {  // a call that has a connection, which is not decided yet
    AcceptRequest request;
    std::shared_ptr<Listener> listener;
    Arrival arrival;
  };

  // Any thread.
  Result<Arrival> next(Listener& listener, int socket, Worker& worker) const;
  Reply hand_out(const AcceptRequest& request, Guest& guest, std::shared_ptr<Listener> listener,
                 Arrival arrival, Verdict verdict) const;
  void put_back(const std::shared_ptr<Listener>& listener, Arrival arrival) const;
  void knock(Listener& listener) const;
  Reply park(AcceptRequest request, std::shared_ptr<Listener> listener, UniqueFd socket);
  Status arm(int socket, std::uint64_t key) const;
  Status arm_listener(int socket, Listener& listener) const;  // requires mutex_
  void set_tick(std::chrono::nanoseconds period) const;
  void wait_for_verdict(AcceptRequest request, std::shared_ptr<Listener> listener, Arrival arrival);

  // Loop thread.
  void serve_ready();
  void serve_parked(std::uint64_t cookie);
  std::optional<AcceptRequest> take_parked(std::uint64_t cookie,
                                           std::shared_ptr<Listener>& listener, UniqueFd& socket);
  void time_out(std::uint64_t cookie, std::uint64_t id);
  void look_again(std::uint64_t key);
  void look_at_all();
  void answer(const AcceptRequest& request, std::shared_ptr<Listener> listener, Arrival arrival,
              Verdict verdict);

  EventLoop& loop_;
  Worker& worker_;
  std::function<void(std::function<void()>)> post_;
  Services* services_ = nullptr;
  UniqueFd ready_{::epoll_create1(EPOLL_CLOEXEC)};
  UniqueFd place_{::fcntl(ready_.get(), F_DUPFD_CLOEXEC, 0)};  // a number for listeners in ready_
  UniqueFd timer_;                         // in ready_; runs while connections are judged
  std::mutex mutex_;                       // the rest; never taken by what it calls
  std::map<std::uint64_t, Queue> queues_;  // by cookie of the listener
  std::map<std::uint64_t, Judging> judging_;
  std::uint64_t last_key_ = 0;
  bool ticking_ = false;  // the timer runs
  bool judged_ = false;   // something was judged since it last fired
};

}  // namespace shunt::sandbox
