// A fabric::Link over a Mover: the ring protocol and the pump between the application's sockets and
// the rings. Fabrics that move bytes themselves (window, verbs, memory in tests) set up a mover and
// hand it over here.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "netstack/base/event_loop.h"
#include "netstack/fabric/fabric.h"
#include "netstack/ring/mover.h"

namespace shunt::ring {

struct Options {
  std::uint32_t streams = 65536;  ///< at once; more: ENOBUFS
  std::uint32_t smallest_ring = 16u << 10;
  std::uint32_t largest_ring = 1u << 20;
  std::chrono::microseconds spin{20};  ///< how long to look again before sleeping; 0 below 4 CPUs
};

/// `loop` outlives the link. `failed` is called once, if the mover fails or the peer breaks the
/// protocol of the link itself (LinkSetup::failed; the mover's maker keeps LinkSetup::send).
/// Link::on_message goes to the mover.
std::unique_ptr<fabric::Link> make_link(EventLoop& loop, fabric::Kind kind,
                                        std::unique_ptr<Mover> mover, std::string peer_name,
                                        MoveFunction<void(Error)> failed, Options options = {});

}  // namespace shunt::ring
