// What `shunt inspect` prints for people, from the document of a pod. A document may be of a shim
// of another version: what it does not say is shown as "-" or left out.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace shunt::command {

/// What people call pods ("namespace/name"), by their ids. A shim knows of other pods only these;
/// who asks all of the node's shims knows both.
using PodNames = std::map<std::string, std::string, std::less<>>;

/// A member as people read it; "-" if there is none.
std::string text_of(const nlohmann::ordered_json& object, const char* key);
/// A member; an empty array if there is none.
const nlohmann::ordered_json& list_of(const nlohmann::ordered_json& object, const char* key);
/// "namespace/name"; empty if the pod has no name.
std::string pod_name_of(const nlohmann::ordered_json& document);

void add_pod(std::string& out, const nlohmann::ordered_json& document, const PodNames& names);

}  // namespace shunt::command
