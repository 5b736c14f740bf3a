// The JSON that `shunt inspect -o json` prints for one pod. Keys are stable: programs read them.
#pragma once

#include <functional>
#include <string>

#include "sandbox/supervisor.h"
#include "shim/oci/spec.h"
#include "shim/supervision.h"
#include "shim/task/service.h"

namespace shunt {

/// Who the pod is, as far as its first container's annotations say.
struct PodIdentity {
  std::string id, name, name_space, uid;
};
PodIdentity identify_pod(const std::string& own_id, const oci::SpecSummary& spec);

/// The pod and its containers alone: what whoever looks for a pod needs. Loop thread.
std::string inspect_head(const PodIdentity& pod, const task::Service& service,
                         const Supervision& supervision);

/// Everything. Loop thread; what it returns may run on any, as long as `supervisor` lives, which is
/// null while no container is supervised: about 10 µs for each fast connection of the pod.
std::function<std::string()> inspect_document(const PodIdentity& pod, const task::Service& service,
                                              const Supervision& supervision,
                                              sandbox::Supervisor* supervisor);

}  // namespace shunt
