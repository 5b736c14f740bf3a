// Gives fast ends that are stuck a larger send buffer (netstack/local/crowded_ends.h says which).
//
// A thread of its own, that starts with the pod's first fast connection. It sees all ends of the
// node, other pods' too: so one supervisor looks for all, whoever comes first, and the others look
// whether it still does. When the node has no fast connection any more they all sleep until they
// make the next one. All of it takes no more than 0.2 % of a CPU, however many connections there
// are, and 1 % while ends get stuck: what took long is not done again soon.
//
// Whose end it is, is found out when it is stuck (holders.h); nothing is kept.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "netstack/base/netlink.h"
#include "netstack/local/taking_turns.h"

namespace shunt::sandbox {

class MoreRoom {
 public:
  using Clock = local::TakingTurns::Clock;

  /// `private_netns` outlives it. `most`: see find_stuck().
  MoreRoom(std::string state_directory, int private_netns, std::size_t most);
  ~MoreRoom();
  MoreRoom(const MoreRoom&) = delete;
  MoreRoom& operator=(const MoreRoom&) = delete;

  /// A program has got an end of a connection between pods. Any thread; cheap.
  void handed_out();

 private:
  void run();
  bool prepare();
  Clock::time_point turn();             ///< when to come again
  bool look();                          ///< true: somebody was stuck
  bool pause(Clock::time_point until);  ///< false: it is to stop

  const std::string state_directory_;
  const int private_netns_;
  const std::size_t most_;
  std::optional<local::TakingTurns> turns_;
  std::optional<NetlinkSocket> diag_;
  std::atomic<bool> needed_{false};
  std::mutex mutex_;
  std::condition_variable woken_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace shunt::sandbox
