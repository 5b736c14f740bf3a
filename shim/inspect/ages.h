// How old fast connections are. The kernel keeps it: a fast socket's modification time is the
// moment it was made (netstack/local/fast_socket.h, stamp()).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <span>

namespace shunt {

/// Seconds since the sockets with these inodes were made, as far as one of the processes has them
/// open. Reads a link per open descriptor, about 2 µs each. Ask for stamped ones only: the kernel
/// (sock_alloc, Linux 6.18) does not clear the time of an inode that it uses again, so that one
/// without a stamp may show that of an earlier socket.
std::map<std::uint32_t, double> socket_ages(std::span<const pid_t> processes,
                                            const std::set<std::uint32_t>& inodes);

}  // namespace shunt
