// Killing a process together with what it started, without trusting process groups (runc's init
// leaves its group by setsid).
#pragma once

#include <sys/types.h>

namespace shunt {

/// SIGKILLs `root` and all its present descendants. Stops each first so that it cannot fork away.
void kill_tree(pid_t root);

}  // namespace shunt
