// A listener that only strangers connect to: its accepts are left to the kernel.
//
// To accept for a program that waits takes two threads and some twenty system calls. Where nobody
// offers anything that is for nothing, and a busy server's clients wait for it. So when strangers
// (clients that are no Shunt pods) connect often enough, one after the other, accept(2) simply
// runs: a trap and one question are all that is left of us.
//
// What must not happen then: that a client replaces its end of a connection which the kernel hands
// out here. The node table says so before the first accept is left to the kernel (see
// NodeTable::leave_to_kernel()), and the mailbox refuses offers of other nodes; such clients stay
// on TCP and ask the server to take its accepts back. It does, with the next one; the word in the
// table is only taken back when the last accept that runs in the kernel has come home.
//
// For a minute after a Shunt pod came it does not begin; unless that pod says that it leaves its
// connections to the kernel from then on (short_lived.h), and no other one came.
//
//   kOurs        accepts are answered by the Acceptor
//   kKernels     accepts run in the kernel
//   kComingHome  some may still run there; new ones are answered by the Acceptor
//
// Any thread may call; one lock each. `now` is said by tests alone.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "netstack/base/unique_fd.h"
#include "netstack/local/mailbox.h"
#include "netstack/local/node_table.h"

namespace shunt::sandbox {

class LeftToKernel {
 public:
  using Clock = std::chrono::steady_clock;

  /// The Acceptor handed out a connection of `client`: a stranger, who offered nothing, or a Shunt
  /// pod.
  void handed_out(bool stranger, const IpAddress& client, Clock::time_point now = Clock::now());

  /// Whether it is worth trying to begin. `port`: of the listener.
  bool worth_it(std::uint16_t port, const local::NodeTable& table,
                Clock::time_point now = Clock::now());

  /// kOurs -> kKernels, unless a Shunt pod has offered something or may be about to. `socket` is a
  /// duplicate of the listener. The Acceptor must hold no call and no connection of it.
  bool begin(int socket, std::uint16_t port, local::NodeTable& table, local::Mailbox* mailbox,
             Clock::time_point now = Clock::now());

  /// Whether this accept may run in the kernel: number `number` of thread `tid` is this listener,
  /// strangers still come often, and nobody asked us to end it. `only`: the pod has no other
  /// listener that anybody offers to. Then what was this one under that number is it still, or is
  /// something that the kernel may accept on anyway; and nobody is asked.
  bool covers(pid_t tid, int number, bool only, const local::NodeTable& table,
              Clock::time_point now = Clock::now());

  /// This thread's accept is answered by the Acceptor, so it does not run in the kernel.
  void came_home(pid_t tid, local::NodeTable& table, local::Mailbox* mailbox);

  /// Now and then: looks after those that do not come back by themselves.
  void look_after(local::NodeTable& table, local::Mailbox* mailbox,
                  Clock::time_point now = Clock::now());
  /// The listener is closed.
  void end(local::NodeTable& table, local::Mailbox* mailbox);

 private:
  enum class State : std::uint8_t { kOurs, kKernels, kComingHome };
  /// A thread whose accept runs in the kernel, or did lately, and the listener's number in it.
  struct Away {
    pid_t tid = 0;
    int number = -1;
  };
  bool is_marked(pid_t tid, int number) const;                    // requires mutex_
  void came(std::uint16_t pod, Clock::time_point at);             // requires mutex_
  void finish(local::NodeTable& table, local::Mailbox* mailbox);  // requires mutex_

  std::mutex mutex_;
  State state_ = State::kOurs;
  UniqueFd mark_;       // an epoll instance whose only entry is the listener
  int marked_as_ = -1;  // its number there
  pid_t self_ = 0;
  std::uint16_t port_ = 0;
  std::vector<Away> away_;
  Clock::time_point last_;    // accept that was left to the kernel
  Clock::time_point looked_;  // after those that are away
  int strangers_ = 0;         // in a row
  Clock::time_point first_of_row_;
  bool often_ = false;
  Clock::time_point began_;
  // Shunt pods, which are why it must not begin
  Clock::time_point not_before_;
  std::uint16_t pod_ = 0;     // which one came; 0: several
  Clock::time_point handed_;  // the last connection of one
  Clock::time_point wanted_;  // when one would have offered in vain
};

}  // namespace shunt::sandbox
