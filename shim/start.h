// The actions containerd runs the shim binary for. Each returns the process's exit code.
#pragma once

#include "shim/cli.h"

namespace shunt {

int run_start(
    const CommandLine& line);  ///< start.cc: makes or finds the pod's shim, prints its address
int run_delete(const CommandLine& line);  ///< delete.cc: cleans up after a shim that is gone
int run_info(const CommandLine& line);    ///< info.cc: what this runtime is (containerd 2.0+)
int run_daemon(const CommandLine& line);  ///< daemon.cc: serves; fd 3 is the listening socket

}  // namespace shunt
