// Killing a process together with what it started, without trusting process groups (runc's init
// leaves its group by setsid).
#pragma once

#include <sys/types.h>

namespace shunt {

/// SIGKILLs `root`, a child of ours, and all its descendants. Stops each first so that it cannot
/// fork away, for which it waits, a tenth of a second at most.
void kill_tree(pid_t root);

}  // namespace shunt
