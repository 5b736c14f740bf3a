// The scheme we compare ourselves with: that of TCP sockets over RDMA (TSoR, arXiv 2305.10621) as
// its published code has it. Each stream has at most one write in flight; each write is a signalled
// WRITE_WITH_IMM whose immediate names the stream; completions are taken one at a time, and the
// next write of the stream follows the completion of the last; every request is posted alone. The
// receiver tells what was consumed when half of a ring has been, by a message on a control channel,
// and gives back receives (64 per pair) when half of them are used. The loop looks again for 0.4 ms
// after the last work before it sleeps.
//
// The rings are the programs' own memory in that design, so the programs are a part of the loop
// here: that is the best case for this scheme, as they never keep it waiting.
#pragma once

#include "netstack/base/result.h"
#include "netstack/verbs/bench/tally.h"
#include "netstack/verbs/device.h"

namespace shunt::verbs::bench {

/// Runs one side to its end. `other`: a stream socket to the process that runs the other side.
Result<Tally> run_one_write(Device& device, const Workload& workload, bool writer, int other);

/// Exchanges `size` bytes with the other process: both write, then both read.
Status swap_bytes(int other, const void* ours, void* theirs, std::size_t size);

}  // namespace shunt::verbs::bench
