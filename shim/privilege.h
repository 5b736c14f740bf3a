// What the shim may do. It starts as root with every capability the node gives containerd and keeps
// only those its roles need; the OCI runtime it starts gets the full set again by execve(2), since
// the bounding set stays (a root process gains its permitted set from it).
#pragma once

#include <sys/capability.h>
#include <array>
#include <string_view>

#include "netstack/base/result.h"

namespace shunt {

struct KeptCapability {
  cap_value_t value;
  std::string_view reason;
};

/// THE list: enforced here, printed in README.md, read back by a test.
inline constexpr std::array kKeptCapabilities{
    KeptCapability{CAP_CHOWN, "give stdio pipes to the container's user"},
    KeptCapability{CAP_DAC_OVERRIDE, "open fifos, bundles and cgroup files of other owners"},
    KeptCapability{CAP_FOWNER, "replace files in bundles owned by a mapped user"},
    KeptCapability{CAP_IPC_LOCK, "register memory with RDMA devices beyond RLIMIT_MEMLOCK"},
    KeptCapability{CAP_KILL, "signal processes of any user"},
    KeptCapability{CAP_NET_ADMIN, "force socket buffer sizes; read connection tracking"},
    KeptCapability{CAP_SYS_ADMIN, "mount the root filesystem; enter a pod's network namespace"},
    KeptCapability{CAP_SYS_PTRACE, "copy descriptors and memory of supervised processes"},
};

/// For the calling thread and those it starts later. Call before any thread exists.
Status drop_privileges();

}  // namespace shunt
