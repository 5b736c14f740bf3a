// The reference fabric: both links in one process, bytes carried by copying from one application's
// socket to the other's through a small buffer. It is what the contract suite was written against,
// and where to look when another fabric and the suite disagree.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "netstack/base/event_loop.h"
#include "netstack/fabric/fabric.h"

namespace shunt::fabric {

struct MemoryOptions {
  std::size_t streams = 65536;     ///< at once, per link; more: ENOBUFS
  std::size_t buffer = 64u << 10;  ///< bytes held per stream and direction while blocked
};

/// Two links joined with each other, on one loop (which outlives them). `failed` of the one that
/// stays is called when the other is destroyed.
std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>> memory_pair(
    EventLoop& loop, MoveFunction<void(Error)> first_failed,
    MoveFunction<void(Error)> second_failed, MemoryOptions options = {});

}  // namespace shunt::fabric
