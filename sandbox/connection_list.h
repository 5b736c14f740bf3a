// The fast connections of a pod, for `inspect`: what the kernel says of them, and whose they are.
#pragma once

#include <string>

#include "sandbox/pod_network.h"
#include "sandbox/supervisor.h"

namespace shunt::sandbox {

/// Fills in `connections` and `pods` of a snapshot that has `remote` already. Any thread; it spends
/// a moment in the private namespace. Nothing is listed if the kernel does not answer.
void list_connections(PodNetwork& network, const std::string& own_pod, Snapshot& snapshot);

}  // namespace shunt::sandbox
