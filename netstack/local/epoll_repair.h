// Keeping epoll registrations when a descriptor is replaced.
//
// An epoll instance remembers (open file, number). Putting another file under the number silently
// drops the registration. Programs that register before they connect (nginx upstreams, Envoy, Asio)
// would never hear of the new socket, so it is registered in the old one's place, under the same
// number, from a thread whose own descriptor table has the number free.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "netstack/base/result.h"

namespace shunt::local {

/// One descriptor in an epoll instance of a process.
struct EpollEntry {
  int epoll = -1;  ///< the instance's number in the process
  std::uint32_t events = 0;
  std::uint64_t data = 0;
};

/// The line "tfd: N events: E data: D ..." of an epoll's fdinfo; empty for other lines and numbers.
std::optional<EpollEntry> parse_epoll_line(std::string_view line, int watched);

/// Numbers of the epoll instances among the descriptors of thread `tid`. Looks at every descriptor:
/// about 1 µs each.
std::vector<int> find_epolls(pid_t tid);

/// The registrations in all epoll instances of a thread's table, which holds `count` descriptors,
/// asked number by number: 0.2 µs for each. Nothing if the kernel cannot be asked.
std::optional<std::vector<EpollEntry>> all_registrations(pid_t tid, int watched, std::size_t count);

/// Registrations of descriptor `watched` in those instances.
std::vector<EpollEntry> find_registrations(pid_t tid, const std::vector<int>& epolls, int watched);

/// Registers `socket` (ours) in each of them under the number `watched`. If the caller then gives
/// up, closing the last descriptor of `socket` undoes it. Runs a short-lived thread; EAGAIN if the
/// system has no room for one.
Status register_again(pid_t tid, const std::vector<EpollEntry>& entries, int watched, int socket);

}  // namespace shunt::local
