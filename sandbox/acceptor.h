// Accepting on behalf of programs: which of the two ends they get, and calls that have to wait.
//
// An accepted TCP connection from a pod of this node is one of
//   offered      the client's supervisor left a fast end in the mailbox. It is handed out as soon
//   as
//                the client has really been given its own end: then its TCP socket is reset, or
//                data arrives on the fast end. If the client's end closes instead, the offer was
//                taken back, and the TCP connection counts.
//   undecided    the client's supervisor is still at it (NodeTable's lines): wait, 5 ms at most
//   plain        neither: hand out TCP
// All of that can be read from kernel objects at any time, so a connection that was accepted for a
// call which was then interrupted goes back to the head of the line and is judged again.
//
// Calls that must wait (nothing to accept, or undecided) are kept by the event loop's thread; no
// thread blocks. The members marked "any thread" are called by every answering thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "netstack/base/event_loop.h"
#include "sandbox/call.h"
#include "sandbox/listeners.h"

namespace shunt::sandbox {

/// What the guest asked for.
struct AcceptRequest {
  CallId call;
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
  Status start(Services* services) {
    services_ = services;
    auto watch = loop_.watch(ready_.get(), EPOLLIN, [this](std::uint32_t) { serve_ready(); });
    if (!watch) return watch.error();
    return Done{};
  }

  /// Any thread. `socket` is a duplicate of the listener.
  Reply accept(Call& call, AcceptRequest request, std::shared_ptr<Listener> listener,
               UniqueFd socket);

  /// Loop thread, now and then: lets go of calls whose thread was interrupted or died.
  void drop_gone();

 private:
  enum class Verdict { kTcp, kFast, kWait };
  struct Waiting {
    AcceptRequest request;
    UniqueFd thread;  ///< pidfd, in `ready_`
  };
  struct Queue {  // calls that wait for a connection on one listener
    std::shared_ptr<Listener> listener;
    UniqueFd socket;
    std::deque<Waiting> calls;
  };
  struct Judging {  // a call that has a connection, which is not decided yet
    AcceptRequest request;
    std::shared_ptr<Listener> listener;
    Arrival arrival;
    EventLoop::Token watch = 0;
    EventLoop::Token timer = 0;
  };

  Result<Arrival> next(Listener& listener, int socket, Worker& worker) const;
  Verdict judge(const Listener& listener, Arrival& arrival) const;
  Verdict judge_patiently(const Listener& listener, Arrival& arrival) const;
  Reply hand_out(const AcceptRequest& request, Guest& guest, std::shared_ptr<Listener> listener,
                 Arrival arrival, Verdict verdict) const;
  void put_back(const std::shared_ptr<Listener>& listener, Arrival arrival) const;
  void knock(Listener& listener) const;

  /// Any thread: no wake-up of the loop is needed, it waits for `ready_`.
  Reply park(AcceptRequest request, std::shared_ptr<Listener> listener, UniqueFd socket);
  void end_if_empty(std::map<std::uint64_t, Queue>::iterator queue);

  // Loop thread.
  void serve_ready();
  bool serve_one(std::uint64_t cookie);
  void time_out(std::uint64_t cookie, std::uint64_t id);
  void wait_for_verdict(AcceptRequest request, std::shared_ptr<Listener> listener, Arrival arrival);
  void look_again(std::uint64_t key);
  void answer(const AcceptRequest& request, std::shared_ptr<Listener> listener, Arrival arrival,
              Verdict verdict);

  EventLoop& loop_;
  Worker& worker_;
  std::function<void(std::function<void()>)> post_;
  Services* services_ = nullptr;
  UniqueFd ready_{::epoll_create1(EPOLL_CLOEXEC)};  // listeners that calls wait for, by cookie
  std::mutex mutex_;                                // queues_; never taken by what it calls
  std::map<std::uint64_t, Queue> queues_;           // by cookie of the listener
  std::map<std::uint64_t, Judging> judging_;
  std::uint64_t last_key_ = 0;
};

}  // namespace shunt::sandbox
