// The JSON that `shunt inspect -o json` prints for one pod. Keys are stable: programs read them.
#pragma once

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

/// `supervisor` is null while no container is supervised.
std::string inspect_document(const PodIdentity& pod, const task::Service& service,
                             const Supervision& supervision, sandbox::Supervisor* supervisor);

}  // namespace shunt
