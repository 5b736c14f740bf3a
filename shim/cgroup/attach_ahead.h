// Takes the kernel's wait out of the way of the OCI runtime.
//
// Whoever moves a process into a cgroup first waits for an RCU grace period, 6 to 14 ms: a quarter
// of a whole exec. The kernel spares the next ones that wait for a while after
// (cgroup_threadgroup_rwsem in kernel/cgroup/cgroup.c, kernel/rcu/sync.c; the mount option
// `favordynmods` buys the same for good, at the price of every fork on the node). So while the
// runtime starts, reads its state and gets ready, a thread of ours makes such a move, and the wait
// is over, or at least begun, when the runtime makes its own. What is moved is that thread, and
// where to is where it is: it changes nothing.
//
// One thread, started with the first use. All members: the event loop's thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace shunt {

class AttachAhead {
 public:
  /// `file`: says where to write one's thread id to stay where one is; "": nowhere.
  explicit AttachAhead(std::function<std::string()> file = own_threads_file);
  ~AttachAhead();
  AttachAhead(const AttachAhead&) = delete;
  AttachAhead& operator=(const AttachAhead&) = delete;

  /// Held while the runtime is about to put a process into a cgroup. Goes on for 100 ms at most.
  class Hold {
   public:
    explicit Hold(AttachAhead& of) : of_{of} { of_.add(1); }
    ~Hold() { of_.add(-1); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    AttachAhead& of_;
  };

  /// Of the calling thread's cgroup: cgroup.threads, or `tasks` of a v1 hierarchy.
  static std::string own_threads_file();

 private:
  void add(int holds);
  void work();

  std::function<std::string()> file_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int holds_ = 0;
  unsigned begun_ = 0;  // holds there have been
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace shunt
