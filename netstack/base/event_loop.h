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
#include <span>
#include <unordered_map>
#include <vector>

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

  /// Timers are called in the order of the moments they are due at. One that is forgotten, or set
  /// for later than another, costs no system call.
  Token at(Clock::time_point due, std::function<void()> callback);
  Token after(std::chrono::nanoseconds delay, std::function<void()> callback) {
    return at(Clock::now() + delay, std::move(callback));
  }
  void post(std::function<void()> callback);  ///< runs before the next wait
  class Turn;

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
    Token token;  ///< 0: forgotten
    int fd;
    Callback callback;
    int running = 0;  ///< calls of it that have not returned
  };
  void set_clock();
  void hand_out(std::span<const epoll_event> batch);
  void run_timers();
  void run_posted();

  UniqueFd epoll_;
  UniqueFd wake_fd_;
  UniqueFd clock_;                                         ///< a timerfd
  Clock::time_point rings_at_ = Clock::time_point::max();  ///< when it will, at the latest
  bool rang_ = false;                                      ///< in this turn
  std::unordered_map<Token, std::unique_ptr<Watch>> watches_;
  std::vector<std::unique_ptr<Watch>> forgotten_;  ///< events at hand may still name them
  int batches_ = 0;                                ///< of events, being handed out
  std::multimap<Clock::time_point, std::pair<Token, std::function<void()>>> timers_;
  std::unordered_map<Token, Clock::time_point> timer_due_;
  std::deque<std::function<void()>> posted_;
  std::vector<Turn*> turns_;  ///< asked for
  std::function<void()> on_wake_;
  Token last_ = 0;
  bool stopped_ = false;
};

/// Something to do once before the next wait, however often it is asked for meanwhile. What post()
/// is for, without memory to be found each time. Must not be destroyed by itself.
class EventLoop::Turn {
 public:
  Turn(EventLoop& loop, std::function<void()> callback)
      : loop_{loop}, callback_{std::move(callback)} {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn();
  void ask();

 private:
  friend class EventLoop;
  EventLoop& loop_;
  std::function<void()> callback_;
  bool asked_ = false;
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
