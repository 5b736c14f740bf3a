// Whose turn is it to do something that one process of the node does for all? A point in time in a
// small file all of them map: whoever comes first after it, takes the turn and says when the next
// one is. Nobody has to end for another one to go on.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "netstack/base/result.h"

namespace shunt::local {

class TakingTurns {
 public:
  using Clock = std::chrono::steady_clock;  // the node's own, the same in all processes

  /// Maps `path`, making it if needed. ENOSPC if there is no room for it.
  static Result<TakingTurns> open(const std::string& path);
  TakingTurns(TakingTurns&& other) noexcept : next_{std::exchange(other.next_, nullptr)} {}
  TakingTurns& operator=(TakingTurns&&) = delete;
  ~TakingTurns();

  /// True: it is ours, and nobody else's before `next` unless said otherwise by set(). `longest`:
  /// no turn is further away than that, whatever the file says (it may be of an earlier boot).
  bool take(Clock::time_point now, Clock::time_point next, Clock::duration longest);
  void set(Clock::time_point next);

 private:
  explicit TakingTurns(std::atomic<std::int64_t>* next) : next_{next} {}
  std::atomic<std::int64_t>* next_;
};

}  // namespace shunt::local
