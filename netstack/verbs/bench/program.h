// The program at one end of the workload's sockets: writes and reads until it has done its part.
#pragma once

#include <vector>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "netstack/verbs/bench/tally.h"

namespace shunt::verbs::bench {

struct ProgramResult {
  Status status = Done{};
  std::uint64_t payload = 0;
  std::uint64_t messages = 0;
};

/// Blocks its thread. The sockets are non-blocking.
ProgramResult run_program(const Workload& workload, bool writer, std::vector<UniqueFd> sockets);

}  // namespace shunt::verbs::bench
