// Which fast connections of kind unix are stuck for want of buffer, as the kernel lists them
// (unix_diag), and how much more they need.
//
// A fast end starts with a small send buffer (first_buffer() in fast_socket.h): more is slower. But
// the kernel charges each small write with 768 bytes or more, so that two programs that both write
// before they read may wait for each other where TCP has room for all of it. Such an end does not
// move while its buffer is full, and holds fewer bytes than TCP takes; it is given a larger one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "netstack/base/netlink.h"

namespace shunt::local {

/// What TCP takes from a writer whose reader does not read: the usual limit of tcp_wmem.
inline constexpr std::uint64_t kTcpTakes = 4U << 20U;

/// An end that poll(2) would not call writable.
struct CrowdedEnd {
  std::uint32_t inode = 0;
  std::uint32_t unread = 0;   ///< bytes written that the peer has not read; 0 if it is unaccepted
  std::uint32_t in_use = 0;   ///< memory the kernel charges for them
  std::uint32_t allowed = 0;  ///< how much it allows: twice what SO_SNDBUF was told
  std::uint64_t netns = 0;    ///< of the pod whose end it is
  bool unaccepted = false;    ///< nobody has the other end yet: it still lies in the mailbox
  bool operator==(const CrowdedEnd&) const = default;
};

struct Look {
  bool any = false;  ///< whether there is an end between pods at all, crowded or not
  std::vector<CrowdedEnd> crowded;
};
/// Ends between a program and a fabric do not count. What is kept of a look is bounded; so
/// crowded ends may be missing. `diag` is of NETLINK_SOCK_DIAG, made inside the private namespace.
Result<Look> look_for_crowded(NetlinkSocket& diag);

struct StuckEnd {
  std::uint32_t inode = 0;
  std::uint64_t netns = 0;
  std::size_t send_buffer = 0;  ///< what SO_SNDBUF is to be told
};
/// Ends that nothing came into or out of between two looks. `most`: what SO_SNDBUF is told at most,
/// if that is enough to wake the writer.
std::vector<StuckEnd> find_stuck(const Look& before, const Look& after, std::size_t most);

}  // namespace shunt::local
