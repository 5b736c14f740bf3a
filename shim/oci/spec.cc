#include "shim/oci/spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace shunt::oci {

std::string SpecSummary::group(const std::string& own_id) const {
  // containerd's own shim looks for these two, in this order.
  for (const char* key : {"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"})
    if (const auto it = annotations.find(key); it != annotations.end() && !it->second.empty())
      return it->second;
  return own_id;
}

std::optional<SpecSummary> summarize_spec(std::string_view json) {
  const auto spec = nlohmann::json::parse(json, nullptr, false);
  if (!spec.is_object()) return std::nullopt;
  SpecSummary summary;
  if (const auto it = spec.find("annotations"); it != spec.end() && it->is_object())
    for (const auto& [key, value] : it->items())
      if (value.is_string()) summary.annotations.emplace(key, value.get<std::string>());
  const auto lin = spec.find("linux");
  if (lin == spec.end() || !lin->is_object()) return summary;
  const auto namespaces = lin->find("namespaces");
  if (namespaces == lin->end() || !namespaces->is_array()) return summary;
  for (const auto& entry : *namespaces) {
    if (!entry.is_object() || entry.value("type", nlohmann::json{}) != "pid") continue;
    const auto path = entry.find("path");
    summary.private_pid_namespace =
        path == entry.end() || !path->is_string() || path->get<std::string>().empty();
  }
  return summary;
}

bool is_safe_id(std::string_view id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !id.empty() && id.size() <= 255 && id.front() != '-' && id.front() != '.' &&
         std::all_of(id.begin(), id.end(), allowed);
}

}  // namespace shunt::oci
