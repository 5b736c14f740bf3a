// What the shim reads from an OCI config.json. Only the members it needs; it never rewrites the
// file here.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace shunt::oci {

struct SpecSummary {
  std::map<std::string, std::string> annotations;
  /// False when the container shares a PID namespace (of the host, or one given by path): its other
  /// processes then do not die with its init.
  bool private_pid_namespace = false;

  /// The id under which containers share one shim: the pod's, or the container's own.
  std::string group(const std::string& own_id) const;
};

/// Empty if the text is no JSON object.
std::optional<SpecSummary> summarize_spec(std::string_view json);

/// Ids name files and command-line arguments: letters, digits, '.', '_', '-', at most 255, no
/// leading '-' or '.'.
bool is_safe_id(std::string_view id);

}  // namespace shunt::oci
