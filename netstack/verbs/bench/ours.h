// The same workload over the fabric as a shim uses it: two programs with sockets, a link each, the
// ring protocol between them.
#pragma once

#include "netstack/base/result.h"
#include "netstack/verbs/bench/tally.h"

namespace shunt::verbs::bench {

/// Runs one side to its end. `other`: a stream socket to the process that runs the other side; it
/// stands for the control connection.
Result<Tally> run_ours(const Workload& workload, bool writer, int other);

}  // namespace shunt::verbs::bench
