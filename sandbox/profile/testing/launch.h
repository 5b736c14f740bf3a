// Starts a program under a filter as a runtime would, without a runtime. For tests and tools.
#pragma once

#include <sys/types.h>

#include <span>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "sandbox/profile/trap.h"

namespace shunt::sandbox::testing {

struct Launched {
  pid_t pid = -1;   ///< a child of this process, to be waited for
  UniqueFd notify;  ///< its filter's notify descriptor
};

/// Forks, installs the filter that `traps` give a container without a profile, and executes
/// `argv` (null-terminated, looked up in PATH; exit status 127 if that fails). To be called while
/// this process has one thread.
Result<Launched> launch(char* const* argv, std::span<const Trap> traps);

}  // namespace shunt::sandbox::testing
