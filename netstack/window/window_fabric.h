// The window fabric: streams over memory shared with the peer's process. Both must run on one
// kernel and be configured with the same directory, where each keeps an AF_UNIX socket to meet at.
// It is how the ring protocol runs without a card, and the model for a peer behind a bus (a DPU,
// CXL memory). On the fabric loop's thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "netstack/base/event_loop.h"
#include "netstack/fabric/fabric.h"
#include "netstack/ring/link.h"
#include "netstack/window/peer_memory.h"
#include "netstack/window/window_mover.h"

namespace shunt::window {

struct Options {
  std::string directory;                 ///< must exist; only root should be able to enter it
  std::uint32_t memory = 64u << 20;      ///< bytes per peer that it may fill; used on demand
  std::chrono::milliseconds wait{5000};  ///< for the rendezvous
  ring::Options ring{.largest_ring = 256u << 10};
  WindowMover::Options mover{};
  /// For tests: puts something between us and the peer's memory.
  std::function<std::unique_ptr<PeerMemory>(SharedMemory, UniqueFd bell)> peer_memory;
};

/// `loop` outlives it. An error: the directory cannot be used (ENOENT, EACCES, ENAMETOOLONG).
Result<std::unique_ptr<fabric::Fabric>> make_fabric(EventLoop& loop, Options options);

}  // namespace shunt::window
