// The shim's own listening socket: where it lies, and who owns it.
#pragma once

#include <string>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt {

/// /run/containerd/s/<SHA-256 of "address/namespace/group">: the convention by which `ctr shim`
/// finds shims. `directory` replaces the folder when containerd names one (2.3+).
std::string socket_path(const std::string& containerd_address,
                        const std::string& containerd_namespace, const std::string& group,
                        const std::string& directory);

struct ShimSocket {
  UniqueFd listener;  ///< invalid: another shim of the same group is alive and answers there
};
/// Binds and listens. A socket file nobody answers on is replaced.
Result<ShimSocket> claim_socket(const std::string& path);

/// Removes the file if nobody answers there.
void remove_dead_socket(const std::string& path);

}  // namespace shunt
