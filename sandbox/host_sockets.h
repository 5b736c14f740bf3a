// Sockets of the node's network that programs of this pod hold in place of their TCP connections
// (fabric host): which connection each one stands for.
//
// The kernel cannot be told, so this is the one thing about a connection that is kept here. Named
// by SO_COOKIE. A close is not seen: as for listeners (listeners.h), an epoll instance that nobody
// waits on lists the living. Any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "netstack/local/fast_socket.h"

namespace shunt::sandbox {

class HostSockets {
 public:
  HostSockets();

  /// `socket` is ours, the program's to be. False: it cannot be kept track of.
  bool add(int socket, const local::FastSocket& stands_for);
  std::optional<local::FastSocket> find(int socket) const;
  struct Entry {
    local::FastSocket stands_for;
    std::uint32_t inode = 0;
  };
  /// Those that live.
  std::vector<Entry> all();

 private:
  void sweep();  // requires mutex_

  mutable std::mutex mutex_;
  UniqueFd living_;
  std::unordered_map<std::uint64_t, Entry> sockets_;
  std::size_t sweep_at_;
};

}  // namespace shunt::sandbox
