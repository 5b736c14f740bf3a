// Gives fast ends that are stuck a larger send buffer (netstack/local/crowded_ends.h says which).
//
// A thread of its own, that starts with the pod's first fast connection. It sees all ends of the
// node, other pods' too: so one supervisor looks for all, whoever comes first, and the others look
// whether it still does. When the node has no fast connection any more they all sleep until they
// make the next one. Looking takes no more than 0.2 % of a CPU, however many connections there are:
// what took long is not done again soon.
//
// Who has an end is found out when it is stuck (holders.h). For a pod whose ends get stuck that is
// 1 % of a CPU at most, and for all of them 5 %. Kept is only what was searched for in vain.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "netstack/base/netlink.h"
#include "netstack/local/crowded_ends.h"
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
  Clock::time_point turn();  ///< when to come again
  std::vector<local::StuckEnd> look();
  /// Those that may be searched for now.
  std::vector<local::StuckEnd> due(std::vector<local::StuckEnd> stuck);
  bool help(const std::vector<local::StuckEnd>& stuck);  ///< true: somebody was
  bool pause(Clock::time_point until);                   ///< false: it is to stop

  const std::string state_directory_;
  const int private_netns_;
  const std::size_t most_;
  std::optional<local::TakingTurns> turns_;
  std::optional<NetlinkSocket> diag_;
  std::uint64_t private_cookie_ = 0;
  struct Lost {  ///< an end that nobody was seen to have
    Clock::time_point until;
    Clock::duration pause{};
  };
  std::unordered_map<std::uint32_t, Lost> lost_;                  // by inode
  std::unordered_map<std::uint64_t, Clock::time_point> resting_;  // pods, by network namespace
  std::atomic<bool> needed_{false};
  std::mutex mutex_;
  std::condition_variable woken_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace shunt::sandbox
