// Fabric kVerbs: streams over RC queue pairs of an RDMA device (InfiniBand or RoCE v2).
//
// The shim's process holds every verbs object; a pod never sees a key or a device. Works in any
// network namespace that the device may be opened in (see Options::node_netns).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "netstack/base/event_loop.h"
#include "netstack/fabric/fabric.h"
#include "netstack/ring/link.h"
#include "netstack/verbs/calls.h"
#include "netstack/verbs/mover.h"

namespace shunt::verbs {

struct Options {
  std::string device;               ///< empty: the first that is up and has an address
  int gid_index = -1;               ///< fixed; -1: by the route to the peer
  std::size_t memory = 256u << 20;  ///< registered at once, at most, by all links
  unsigned queue_pairs = 2;         ///< per link, at most; the peer's limit counts as well
  Tuning tuning{};
  ring::Options ring{};  ///< its `streams` is per link
  int node_netns = -1;   ///< the node's network namespace, borrowed; -1: the thread's
};

/// ENODEV: no device on this host (found out without loading the library); ENOENT: no libibverbs;
/// ENETDOWN, EADDRNOTAVAIL: no port can be used now. `loop` outlives the fabric, and the fabric its
/// links.
Result<std::unique_ptr<fabric::Fabric>> make_fabric(EventLoop& loop, const Options& options);
/// Over this table, which outlives the fabric.
Result<std::unique_ptr<fabric::Fabric>> make_fabric(EventLoop& loop, Calls& calls,
                                                    const Options& options);

}  // namespace shunt::verbs
