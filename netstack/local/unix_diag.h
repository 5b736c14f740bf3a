// What the kernel knows about AF_UNIX sockets, asked from outside (unix_diag).
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "netstack/base/netlink.h"

namespace shunt::local {

struct UnixSocket {
  std::uint32_t inode = 0;
  std::uint32_t peer = 0;     ///< inode; 0: it is closed, or nobody has accepted it yet
  bool finished = false;      ///< nothing comes any more: the peer is closed, or said so
  std::string_view name;      ///< abstract, without its zero; borrowed for the call
  std::uint32_t unread = 0;   ///< bytes that arrived and were not read
  std::uint32_t unsent = 0;   ///< written and not read by the peer, as the kernel charges them
  std::uint32_t in_use = 0;   ///< memory the kernel charges for what was written
  std::uint32_t allowed = 0;  ///< how much it allows: twice what SO_SNDBUF was told
};

/// Every established socket that a process holds, of the socket's network namespace.
Status dump_unix(NetlinkSocket& socket, const std::function<void(const UnixSocket&)>& each);

}  // namespace shunt::local
