// Whether a process could reconfigure the node through a socket of the node's network.
#pragma once

#include <sys/types.h>

namespace shunt::sandbox {

/// It, or a program that it runs, may have CAP_NET_ADMIN in our own user namespace, which owns the
/// node's network. True as well if that cannot be told. Some 20 µs.
bool may_reconfigure_node(pid_t process);

}  // namespace shunt::sandbox
