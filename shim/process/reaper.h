// Collects the exits of every child: runtime calls, and container processes that the runtime left
// to us (the shim is a subreaper). One thread; SIGCHLD arrives by signalfd, so there is no race
// with the map.
//
// A container process can exit before its pid is known to us, between the runtime's fork and our
// reading of the pid file. Whoever is in that stretch holds a Hold: exits of unknown children are
// then kept and handed to watch(). Without a Hold unknown children are orphans of containers and
// are only reaped.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <unordered_map>

#include "netstack/base/co.h"
#include "netstack/base/event_loop.h"
#include "shim/process/child.h"

namespace shunt {

/// How a child ended. `status` is the exit code, or 128 + signal.
struct ChildExit {
  std::uint32_t status = 0;
  std::chrono::system_clock::time_point at;
};

class Reaper {
 public:
  /// Blocks SIGCHLD for this thread (and those it starts later) and becomes a child subreaper.
  explicit Reaper(EventLoop& loop);
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  class Hold {
   public:
    explicit Hold(Reaper& reaper) : reaper_{reaper} { ++reaper_.holds_; }
    ~Hold() {
      if (--reaper_.holds_ == 0) reaper_.early_.clear();
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Reaper& reaper_;
  };

  using Callback = std::function<void(ChildExit)>;
  void watch(pid_t pid, Callback callback);
  void forget(pid_t pid) { children_.erase(pid); }
  bool watched(pid_t pid) const { return children_.contains(pid); }

  /// The exit of a child, or nothing when `timeout` passed first; the child is then still running.
  Co<std::optional<ChildExit>> wait(pid_t pid, std::chrono::nanoseconds timeout);

 private:
  void collect();

  EventLoop& loop_;
  UniqueFd signals_;
  EventLoop::Token watch_ = 0;
  std::unordered_map<pid_t, Callback> children_;
  std::unordered_map<pid_t, ChildExit> early_;
  unsigned holds_ = 0;
};

}  // namespace shunt
