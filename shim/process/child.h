// Starting a program: everything between fork and exec, and nothing else.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "netstack/base/result.h"

namespace shunt {

struct ChildSpec {
  std::vector<std::string> argv;  ///< argv[0] is looked up in PATH
  std::vector<std::pair<int, int>>
      descriptors;                       ///< {ours, the child's number}; 0-2 not named: /dev/null
  std::vector<std::string> environment;  ///< empty: ours, without NOTIFY_SOCKET
  bool dies_with_us = true;              ///< SIGKILL when the calling thread ends
};

/// Raises our soft limit of open files to the hard one: the supervisor keeps duplicates of guests'
/// descriptors under the guests' numbers. Children start with the limit from before, since a
/// container without one of its own inherits it.
void raise_file_limit();

/// The child's pid; the caller reaps it (Reaper). Call from a thread that lives as long as the
/// process: dies_with_us is bound to the thread. Errors: those of execve(2), reported here and not
/// as an exit code.
Result<pid_t> start_child(const ChildSpec& spec);

/// What a program prints on stdout before it ends, at most 1 MiB; nothing if it cannot be run or
/// fails. Waits for it: for the commands that end at once and are called before there is a loop.
std::optional<std::string> output_of(std::vector<std::string> argv);

}  // namespace shunt
