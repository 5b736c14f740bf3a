// Which process has a socket, when nothing is known of it but its inode: only /proc tells.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <unordered_set>
#include <vector>

namespace shunt::sandbox {

/// CPU time of the calling thread.
std::chrono::nanoseconds own_cpu_time();

/// The processes of the node at one moment, some µs for each. Those that end meanwhile are left
/// out, and a number that means another process or descriptor by now is noticed.
class Holders {
 public:
  /// Gets a duplicate of the socket, closed when it returns. False: it is not the one that was
  /// looked for, since the kernel counts inodes with 32 bits.
  using Found = std::function<bool(std::uint32_t inode, int socket)>;
  using Inodes = std::unordered_set<std::uint32_t>;

  Holders();

  /// Descriptors of the processes in a network namespace. Linux 6.2; 0 before.
  std::int64_t descriptors_in(std::uint64_t netns);

  /// Calls `found` with each of these sockets that a process in that network namespace has, once,
  /// and takes it out of `inodes`. Processes with few descriptors come first. Stops when
  /// own_cpu_time() is past `enough`. Not found are sockets on their way in a message and those
  /// of io_uring.
  void find(std::uint64_t netns, Inodes& inodes, std::chrono::nanoseconds enough,
            const Found& found);
  /// The same in the table of one thread.
  static void find_in(pid_t tid, Inodes& inodes, std::chrono::nanoseconds enough,
                      const Found& found);
  /// The same where they are seldom: threads that have a table of their own or have outlived their
  /// process's first one (Linux 6.9), and processes in other namespaces than these. A program's own
  /// sandbox may have no network, and sockets can be handed to a program of another pod.
  void find_elsewhere(const std::set<std::uint64_t>& netns, Inodes& inodes,
                      std::chrono::nanoseconds enough, const Found& found);

 private:
  struct Process {
    std::uint64_t netns = 0;
    std::int64_t descriptors = -1;  ///< not counted yet
    pid_t pid = 0;
  };
  static std::int64_t count(Process& process);
  /// Those in one of these namespaces, or in none of them; those with few descriptors first.
  std::vector<Process> processes(const std::set<std::uint64_t>& netns, bool inside);
  std::vector<Process> processes_;
};

}  // namespace shunt::sandbox
