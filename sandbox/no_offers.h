// Clients of other nodes that have said that no offers come for their connections to a server here,
// for a short time (WIRE.md, PASS with port 0). Whoever uses it locks.
#pragma once

#include <chrono>
#include <map>
#include <utility>

#include "netstack/base/endpoint.h"

namespace shunt::sandbox {

class NoOffers {
 public:
  using Clock = std::chrono::steady_clock;

  /// Bounded for each client and for all: what does not fit is not kept, and waited for.
  void add(const IpAddress& client, const Endpoint& server, Clock::time_point now);
  bool holds(const IpAddress& client, const Endpoint& server, Clock::time_point now) const;
  /// An offer came after all: soon it holds no more. Not at once, since connections without one may
  /// still be under way.
  void end_soon(const IpAddress& client, const Endpoint& server, Clock::time_point now);

 private:
  std::map<std::pair<IpAddress, Endpoint>, Clock::time_point> until_;
};

}  // namespace shunt::sandbox
