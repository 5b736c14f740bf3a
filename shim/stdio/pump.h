// Moves bytes from one descriptor to another until end of file, on the event loop, without blocking
// and (between pipes) without copying them through our memory: splice(2) where the kernel allows
// it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "netstack/base/event_loop.h"

namespace shunt {

class Pump {
 public:
  /// `from` must be non-blocking; `to` must be non-blocking or a regular file. Both are closed at
  /// the end. `done` is called once, at end of file or when either side fails; it may destroy the
  /// pump. What is in a fifo `to` that is open for both (fifo(7)) gets a second to be read first:
  /// clients open theirs in the background and give it up once the process is deleted, and what
  /// nobody has opened goes with our end.
  Pump(EventLoop& loop, UniqueFd from, std::shared_ptr<UniqueFd> to, std::function<void()> done);
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

 private:
  enum class Step { kMoved, kSourceEmpty, kSinkFull, kEnd };
  void turn();
  Step move();
  Step move_copying();
  void wait_for(bool source);
  void finish();
  void end_when_read(EventLoop::Clock::time_point until, std::chrono::milliseconds pause);
  void end();

  EventLoop& loop_;
  UniqueFd from_;
  std::shared_ptr<UniqueFd> to_;  ///< stdout and stderr may share one file
  std::function<void()> done_;
  EventLoop::Token watch_ = 0;
  bool watching_source_ = true;
  bool copying_ = false;
  std::string held_;  ///< read but not yet written (copying only)
};

}  // namespace shunt
