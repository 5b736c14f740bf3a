// One thread, one epoll. Callbacks run to completion on that thread and must not block.
//
// Watches and timers are named by a token that is never reused: an fd number is reused within one
// batch of events, and that is how an event reaches the wrong object. Nothing here is thread-safe
// except wake().
#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt {

class EventLoop {
 public:
  using Clock = std::chrono::steady_clock;
  using Token = std::uint64_t;  ///< 0 is never given out
  using Callback = std::function<void(std::uint32_t events)>;

  EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Calls back with the epoll events seen on `fd` (borrowed), level-triggered unless EPOLLET is
  /// set. forget() it before closing the fd.
  Result<Token> watch(int fd, std::uint32_t events, Callback callback);
  Status rearm(Token token, std::uint32_t events);
  void forget(Token token);  ///< a watch or a timer; unknown tokens (and 0) are ignored

  /// Timers are called in the order of the moments they are due at.
  Token at(Clock::time_point due, std::function<void()> callback);
  Token after(std::chrono::nanoseconds delay, std::function<void()> callback) {
    return at(Clock::now() + delay, std::move(callback));
  }
  void post(std::function<void()> callback);  ///< runs before the next wait

  /// Any thread: makes the loop call `on_wake` callbacks registered by the owner of the other
  /// thread.
  void wake() const;
  void on_wake(std::function<void()> callback) { on_wake_ = std::move(callback); }

  void run();  ///< until stop()
  void stop() { stopped_ = true; }
  void run_once(int timeout_ms);

  // For coroutines: `uint32_t events = co_await loop.ready(fd, EPOLLIN, deadline)`; 0 = deadline
  // passed.
  struct Ready;
  struct Sleep;
  Ready ready(int fd, std::uint32_t events, Clock::time_point deadline = Clock::time_point::max());
  Sleep sleep(std::chrono::nanoseconds delay);

 private:
  struct Watch {
    int fd;
    Callback callback;
  };
  int next_timeout(int limit_ms) const;
  void run_timers();
  void run_posted();

  UniqueFd epoll_;
  UniqueFd wake_fd_;
  std::unordered_map<Token, std::shared_ptr<Watch>> watches_;
  std::multimap<Clock::time_point, std::pair<Token, std::function<void()>>> timers_;
  std::unordered_map<Token, Clock::time_point> timer_due_;
  std::deque<std::function<void()>> posted_;
  std::function<void()> on_wake_;
  Token last_ = 0;
  bool stopped_ = false;
};

struct EventLoop::Ready {
  EventLoop& loop;
  int fd;
  std::uint32_t events;
  Clock::time_point deadline;
  std::uint32_t seen = 0;
  Token watch = 0;
  Token timer = 0;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> caller);
  std::uint32_t await_resume() const noexcept { return seen; }
};

struct EventLoop::Sleep {
  EventLoop& loop;
  std::chrono::nanoseconds delay;

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> caller) {
    loop.after(delay, [caller] { caller.resume(); });
  }
  void await_resume() const noexcept {}
};

inline EventLoop::Ready EventLoop::ready(int fd, std::uint32_t events, Clock::time_point deadline) {
  return Ready{*this, fd, events, deadline};
}
inline EventLoop::Sleep EventLoop::sleep(std::chrono::nanoseconds delay) { return {*this, delay}; }

}  // namespace shunt
