// All fast sockets of the node, of both kinds, as the kernel lists them (unix_diag, inet_diag).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "netstack/base/netlink.h"
#include "netstack/local/fast_name.h"

namespace shunt::local {

struct FastEntry {
  FastName name;
  std::uint64_t netns = 0;  ///< whose end this is; 0 for kind tcp, whose own address tells
  std::uint32_t inode = 0;
  bool is_client = false;
  std::uint32_t unread = 0;  ///< bytes that arrived and were not read
  std::uint32_t unsent = 0;  ///< bytes written that the peer has not read
};

/// Call it inside the private namespace. Ends nobody has accepted yet are not listed.
Result<std::vector<FastEntry>> list_fast_sockets();

}  // namespace shunt::local
