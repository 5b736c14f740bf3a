// The programs and files around the shim.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "config/load.h"
#include "shim/command/check.h"
#include "shim/process/child.h"

namespace shunt::command {
namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

bool contains(const nlohmann::json& list, const char* word) {
  return list.is_array() && std::find(list.begin(), list.end(), word) != list.end();
}

void check_runtime(const std::string& binary, std::vector<Finding>& findings) {
  const auto version = output_of({binary, "--version"});
  if (!version) {
    findings.push_back({"OCI runtime", Fitness::kMissing, "no " + binary,
                        "install runc, or name another with runtime.binary in the configuration"});
    return;
  }
  findings.push_back({"OCI runtime", Fitness::kOk, first_line(*version), ""});
  const auto text = output_of({binary, "features"});
  const auto features = nlohmann::json::parse(text.value_or(""), nullptr, false);
  if (!features.is_object()) {
    findings.push_back(
        {"runtime's seccomp notify", Fitness::kDegraded, "unknown",
         binary +
             " has no \"features\" command; runc 1.1 and crun 0.19 can hand over notifications"});
    return;
  }
  const auto seccomp = features.value("/linux/seccomp"_json_pointer, nlohmann::json::object());
  const bool notify = contains(seccomp.value("actions", nlohmann::json{}), "SCMP_ACT_NOTIFY");
  findings.push_back(
      {"runtime's seccomp notify", notify ? Fitness::kOk : Fitness::kMissing, notify ? "yes" : "no",
       notify
           ? ""
           : "the runtime cannot install the filter; use runc 1.1 or newer with libseccomp 2.5"});
}

/// It is made with the first pod.
Finding check_state(const std::string& state) {
  std::error_code ignored;
  std::filesystem::path there{state};
  while (there.has_relative_path() && !std::filesystem::exists(there, ignored))
    there = there.parent_path();
  if (std::filesystem::is_directory(there, ignored) && ::access(there.c_str(), W_OK) == 0)
    return {"state directory", Fitness::kOk, state, ""};
  return {"state directory", Fitness::kMissing, "no " + state,
          there.string() + " is no directory that can be written to; name another with state"};
}

}  // namespace

std::vector<Finding> check_programs(const std::string& config_path) {
  std::vector<Finding> findings;
  const auto config = config_path.empty() ? config::load_default() : config::load_file(config_path);
  const std::string file = config_path.empty() ? config::kDefaultPath : config_path;
  findings.push_back(config
                         ? Finding{"configuration", Fitness::kOk,
                                   ::access(file.c_str(), F_OK) == 0 ? file : "defaults", ""}
                         : Finding{"configuration", Fitness::kMissing, "invalid", config.error()});
  if (config) findings.push_back(check_state(config->state));
  check_runtime(config ? config->runtime.binary : "runc", findings);

  const auto containerd = output_of({"containerd", "--version"});
  findings.push_back({"containerd", containerd ? Fitness::kOk : Fitness::kDegraded,
                      containerd ? first_line(*containerd) : "not in PATH",
                      containerd ? "" : "containerd starts the shim; is it installed elsewhere?"});
  const bool shim = output_of({"containerd-shim-shunt-v2", "-v"}).has_value();
  findings.push_back({"shim in PATH", shim ? Fitness::kOk : Fitness::kDegraded, shim ? "yes" : "no",
                      shim ? ""
                           : "containerd looks for containerd-shim-shunt-v2 in its PATH and beside "
                             "its own binary"});
  std::string plugins;
  for (const char* folder : {"/opt/cni/bin", "/usr/lib/cni"})
    if (::access((std::string{folder} + "/bridge").c_str(), X_OK) == 0 ||
        (::access(folder, F_OK) == 0 && plugins.empty()))
      plugins = folder;
  findings.push_back({"CNI plugins", plugins.empty() ? Fitness::kDegraded : Fitness::kOk,
                      plugins.empty() ? "none" : plugins,
                      plugins.empty()
                          ? "pods get their network from CNI; install the plugins your cluster uses"
                          : ""});
  std::error_code ignored;
  std::size_t networks = 0;
  for (const auto& entry : std::filesystem::directory_iterator{"/etc/cni/net.d", ignored})
    networks +=
        entry.path().extension() == ".conf" || entry.path().extension() == ".conflist" ? 1U : 0U;
  findings.push_back(
      {"CNI networks", networks > 0 ? Fitness::kOk : Fitness::kDegraded,
       std::to_string(networks) + " in /etc/cni/net.d",
       networks > 0
           ? ""
           : "containerd's CRI plugin starts no pods until the cluster's network is configured"});
  return findings;
}

}  // namespace shunt::command
