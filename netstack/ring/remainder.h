// Bytes that arrived for an application before its peer or the whole link went: they are still
// given to it, as a kernel still hands out what it has received before a reset. Independent of the
// link they came by.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <vector>

#include "netstack/base/event_loop.h"
#include "netstack/fabric/app_end.h"

namespace shunt::ring {

/// Copies of what the application does not take now; empty too if it takes nothing any more.
std::vector<std::byte> give_what_fits(fabric::AppEnd& app, std::span<const iovec> parts);

/// Keeps the end until the application has taken everything, and then resets it; or, cleanly, says
/// that no more will come and keeps it until the application ends as well, or writes: no one would
/// receive that. What lies so in one process is bounded (64 MiB); beyond that the end is reset at
/// once.
void see_off(EventLoop& loop, fabric::AppEnd app, std::vector<std::byte> bytes, bool cleanly);

}  // namespace shunt::ring
