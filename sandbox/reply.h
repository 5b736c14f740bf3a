// What a trapped call can end in. A handler returns one of these; only dispatch.cc turns them into
// notify ioctls.
#pragma once

#include <cerrno>
#include <cstdint>
#include <variant>

#include "netstack/base/move_function.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "sandbox/guest.h"

namespace shunt::sandbox {

/// Called once when the kernel has taken the answer, or will not: ENOENT, the caller was
/// interrupted or is dead. An answer that changed something must be able to undo it, or to tell the
/// repeated call.
using Outcome = MoveFunction<void(const Status& delivered)>;

struct Return {  ///< this value
  std::int64_t value = 0;
  Outcome after = {};
};
struct Fail {  ///< -1 and this errno
  int number = EIO;
};
struct InstallFd {  ///< a new descriptor, installed and returned in one step
  UniqueFd fd;
  bool close_on_exec = false;
  /// Gets the descriptor back if it was not delivered.
  MoveFunction<void(const Status& delivered, UniqueFd fd)> after = {};
};
struct ReplaceFd {  ///< another open file under a number the guest has
  GuestFd number{};
  UniqueFd fd;
  bool close_on_exec = false;
  int error = 0;          ///< the errno the call returns; 0: it returns 0
  Outcome replaced = {};  ///< before the call returns to the guest
  Outcome answered = {};
};
struct RunInKernel {};  ///< CONTINUE: never as a verdict on safety
struct Later {};        ///< nothing yet: the handler kept the call and will answer

using Reply = std::variant<Fail, Return, InstallFd, ReplaceFd, RunInKernel, Later>;

}  // namespace shunt::sandbox
