// Threads that answer the calls of one container each; see supervisor.h for who has one.
//
// Such a thread blocks in SECCOMP_IOCTL_NOTIF_RECV, which answers faster than the loop, whose wait
// comes before it. The first two containers have one from the start. Another one, or an exec, gets
// one when it calls often, and goes back to the loop when it has been silent for some seconds.
//
// Any thread may call, except as said.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>

#include "sandbox/call.h"

namespace shunt::sandbox {

class AnswerThreads {
 public:
  /// What a thread and its owner tell each other.
  struct Order {
    std::atomic<bool> stop{false};        ///< looked at before each call
    std::atomic<bool> waits{false};       ///< for the next call
    std::atomic<std::uint32_t> calls{0};  ///< answered so far
  };
  /// Runs on the new thread until it is told to stop, or nobody uses the container any more.
  /// Returns whether somebody does.
  using Serve = std::function<bool(const std::shared_ptr<Container>&, Order&)>;
  using GoBack = std::function<void(std::shared_ptr<Container>)>;

  /// `signal` interrupts what a thread waits in. `go_back` is told, by any thread, of containers
  /// that have lost theirs.
  AnswerThreads(int signal, Serve serve, GoBack go_back)
      : signal_{signal}, serve_{std::move(serve)}, go_back_{std::move(go_back)} {}
  ~AnswerThreads() { end(); }
  AnswerThreads(const AnswerThreads&) = delete;
  AnswerThreads& operator=(const AnswerThreads&) = delete;

  /// False: none is left. For good, or for a container that calls often at the moment.
  bool start_for_good(const std::shared_ptr<Container>& container);
  bool start_for_now(const std::shared_ptr<Container>& container);

  /// Once a second, by one thread: sends back those that are silent, and joins those that ended.
  void look_after();

  /// Ends and joins all; no more are started.
  void end();

 private:
  struct Entry {
    std::thread thread;
    Order order;
    bool for_now = false;
    std::uint32_t calls = 0;  // when it was looked at
    int silent = 0;           // looks
    std::atomic<bool> ended{false};
  };
  bool start(const std::shared_ptr<Container>& container, bool for_now);
  void reap();  // requires mutex_

  const int signal_;
  const Serve serve_;
  const GoBack go_back_;
  std::mutex mutex_;  // not taken by the threads
  std::list<Entry> entries_;
  bool ending_ = false;
};

/// Whether a container that has no thread calls often. One thread.
class CallsOften {
 public:
  using Clock = std::chrono::steady_clock;
  bool operator()(Clock::time_point now);

 private:
  int calls_ = 0;  // of a row
  Clock::time_point first_;
};

}  // namespace shunt::sandbox
