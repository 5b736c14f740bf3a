// The addresses that are no Shunt pods, for a while: so that each costs one question a minute.
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>

#include "netstack/base/endpoint.h"
#include "netstack/base/event_loop.h"
#include "netstack/control/call.h"

namespace shunt::control {

class NotShunt {
 public:
  using Clock = EventLoop::Clock;
  struct Entry {
    IpAddress address{};
    Clock::time_point since{};
    Failure failure;
    bool banned = false;  ///< for what it sent: its calls are not taken either
  };

  /// `hold`: how long an entry counts. `limit`: how many; the oldest go first.
  NotShunt(std::chrono::nanoseconds hold, std::size_t limit) : hold_{hold}, limit_{limit} {}

  void put(const IpAddress& address, Failure failure, bool banned, Clock::time_point now);
  void drop(const IpAddress& address);
  /// nullptr: not here, or no longer.
  const Entry* find(const IpAddress& address, Clock::time_point now) const;
  std::size_t size() const { return entries_.size(); }
  const std::list<Entry>& entries() const { return entries_; }  ///< the oldest first

 private:
  std::chrono::nanoseconds hold_;
  std::size_t limit_;
  std::list<Entry> entries_;  ///< by age, since all hold for the same time
  std::unordered_map<IpAddress, std::list<Entry>::iterator> by_address_;
};

/// For people: "nobody listens on the port".
std::string sentence(const Failure& failure);

}  // namespace shunt::control
