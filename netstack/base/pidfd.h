// Descriptors that name a thread, for pidfd_getfd(2). Any thread may call.
#pragma once

#include <sys/types.h>

#include "netstack/base/unique_fd.h"

namespace shunt {

/// Of the thread itself, whose descriptor table may be its own. Before Linux 6.9 only the first
/// thread of a process has one: invalid for others, errno says why (EINVAL, or ENOENT).
UniqueFd open_pidfd(pid_t tid);

}  // namespace shunt
