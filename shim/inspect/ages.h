// How old fast connections are. The kernel keeps it: a fast socket's modification time is the
// moment it was made (netstack/local/fast_socket.h, stamp()).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace shunt {

/// When sockets were made, found by their inodes.
class SocketAges {
 public:
  /// Of the sockets with these inodes, as far as one of the processes has them open. Reads a link
  /// per open descriptor and looks at each of those sockets once, about 2 µs each. Ask for stamped
  /// ones only: the kernel (sock_alloc, Linux 6.18) does not clear the time of an inode that it
  /// uses again, so that one without a stamp may show that of an earlier socket.
  SocketAges(std::span<const pid_t> processes, std::vector<std::uint32_t> inodes);

  /// Seconds since the socket was made.
  std::optional<double> of(std::uint32_t inode) const;

 private:
  void look_at(pid_t process);

  std::vector<std::uint32_t> inodes_;  ///< sorted
  std::vector<std::optional<double>> ages_;
  std::size_t missing_;
};

}  // namespace shunt
