// Who is a Shunt pod of this node: a small file all supervisors of the node map.
//
// It says which addresses belong to which pod, where the pod's network namespace can be opened,
// and, per thread that makes connections, whether it is at this moment deciding about one (its
// *line*). The last is how a server knows that an offer for a connection it has just accepted may
// still be under way. Everything else about a connection is in the kernel.
//
// A line is one word: 2n+1 while the thread's n-th connection is undecided, even in between. A
// server that will not wait any longer makes it even by compare-and-swap; then the client, which
// has to do the same before it goes on, finds that it lost and stays on kernel TCP.
//
// Entries of supervisors that died are cleared by whoever registers next. Nothing in the file is
// trusted for more than a decision about speed: what a pod may reach is the kernel's business, and
// the kernel confirms each upgrade (tcp_diag.h). The file is readable and writable by root only.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::local {

inline constexpr std::size_t kLines = 16;         ///< threads of a pod that can upgrade
inline constexpr std::size_t kPodAddresses = 16;  ///< what does not fit is not upgraded

/// What one supervisor tells the others.
struct PodRecord {
  std::string pod_id;
  std::uint64_t netns = 0;  ///< inode
  int netns_fd = -1;        ///< in the table of the supervisor's process: others open it by /proc
  int private_netns_fd = -1;
  std::vector<IpAddress> addresses;  ///< none of them loopback
};

/// A pod as others see it.
struct Pod {
  std::size_t slot = 0;
  pid_t supervisor = 0;
  PodRecord record;
};

class NodeTable {
 public:
  /// Maps `<directory>/node`, making it if needed; where that is another version's, one of our own.
  static Result<std::unique_ptr<NodeTable>> open(const std::string& directory);
  ~NodeTable();
  NodeTable(const NodeTable&) = delete;
  NodeTable& operator=(const NodeTable&) = delete;

  /// Held while a supervisor registers, so that two do not both make the private namespace.
  class Lock {
   public:
    Lock(int fd, std::mutex& mutex);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    std::unique_lock<std::mutex> threads_;  // flock(2) knows processes only
    int fd_;
  };
  Lock lock() { return Lock{fd_.get(), registering_}; }

  /// All live pods; clears those whose supervisor died. Requires: lock() held.
  std::vector<Pod> pods();
  /// Enters or rewrites our own record. ENOSPC: the table is full. Requires: lock() held.
  Status put(const PodRecord& record);

  /// Pods that have this address. More than one only where pods share a network namespace or one
  /// is on its way out. Cheap: a local index, rebuilt when a pod came or went. Any thread.
  std::vector<std::shared_ptr<const Pod>> find(const IpAddress& address);
  bool has(const IpAddress& address);
  std::vector<std::shared_ptr<const Pod>> all();
  std::size_t own_slot() const { return own_; }

  // Lines. begin() and commit() of one line are called by the one thread that owns it.

  std::uint64_t begin(std::size_t line);
  /// False: a server gave up waiting for this connection. Either way it is decided now.
  bool commit(std::size_t line, std::uint64_t ticket);

  /// The undecided connections of a pod now, and whether they have all been decided since.
  struct Undecided {
    std::size_t slot = 0;
    std::array<std::uint64_t, kLines> tickets{};  ///< 0: none
    bool any() const;
  };
  Undecided undecided(std::size_t slot) const;
  bool decided(const Undecided& since) const;
  /// Decides against whatever of it is still open.
  void refuse(const Undecided& since) const;
  /// No pod of the node has an undecided connection. False also if that cannot be told.
  bool nobody_decides();

  // Listeners whose accepts are left to the kernel (sandbox/left_to_kernel.h). A client looks after
  // its begin() and before it offers, a server says so before it asks nobody_decides(): one of them
  // sees the other. Ports share words, so that a client may see one that is not meant.

  void leave_to_kernel(std::uint16_t port);
  void take_from_kernel(std::uint16_t port);
  bool left_to_kernel(std::size_t slot, std::uint16_t port) const;
  /// What a client said last about one of our listeners, and when: up to 66 µs later than it did.
  struct Said {
    std::chrono::steady_clock::time_point at{};
    std::uint16_t by = 0;  ///< see short_name()
  };
  /// A client would have offered; the server is to take its accepts back.
  void want(std::size_t slot, std::uint16_t port, const IpAddress& client) const;
  Said wanted(std::uint16_t port) const;
  /// A client that offered until now leaves its connections to the kernel from now on.
  void spare(std::size_t slot, std::uint16_t port, const IpAddress& client) const;
  Said spared(std::uint16_t port) const;
  /// Of a client's address: enough to tell one client from another mostly. Never 0.
  static std::uint16_t short_name(const IpAddress& client);

 private:
  static Result<std::unique_ptr<NodeTable>> open_file(const std::string& path);
  struct Slot;
  struct Ports;
  struct File;
  NodeTable(UniqueFd fd, File* file) : fd_{std::move(fd)}, file_{file} {}
  void refresh();
  Ports& ports(std::size_t slot, std::uint16_t port) const;

  using Index = std::unordered_multimap<IpAddress, std::shared_ptr<const Pod>>;
  UniqueFd fd_;
  File* file_;
  std::size_t own_ = SIZE_MAX;
  std::mutex registering_;
  std::mutex mutex_;  // taken before registering_
  Index index_;
  std::uint64_t indexed_ = 0;  ///< generation of `index_`; 0 is never a generation
};

}  // namespace shunt::local
