// Which epoll instances a process has, so that a connect need not look at all of its descriptors.
//
// A process with few descriptors is simply asked about each. With more, looking is dear: the list
// is taken anew when a thread connects for the first time, and when it is older than kFresh, or
// than kDear times what taking it took. An instance made and used in between by a thread that
// connected before is missed; see README.md.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "netstack/local/epoll_repair.h"

namespace shunt::sandbox {

class EpollCache {
 public:
  /// Registrations of descriptor `watched` of thread `tid`, whose table holds `count` descriptors
  /// (0: not known).
  std::vector<local::EpollEntry> registrations(pid_t tid, int watched, std::size_t count);

 private:
  static constexpr std::chrono::milliseconds kFresh{20};
  static constexpr int kDear = 50;
  static constexpr std::size_t kFew = 256;
  static constexpr std::size_t kMost = 256;
  struct Known {
    std::vector<int> epolls;
    std::chrono::steady_clock::time_point fresh_until;
  };
  std::mutex mutex_;
  std::unordered_map<pid_t, Known> known_;
};

}  // namespace shunt::sandbox
