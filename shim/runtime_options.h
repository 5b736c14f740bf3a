// From the options containerd passes (and the config file they may name) to how the OCI runtime is
// run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "shim/oci/runtime.h"

namespace shunt {

/// Both kinds of options in one. containerd.runc.v1.Options names the settings themselves;
/// runtimeoptions.v1.Options (what containerd 1.6 sends for a runtime of another name) names a
/// file.
struct RuntimeOptions {
  std::string config_path;  ///< empty: none named
  std::string binary, root, shim_cgroup;
  bool systemd_cgroup = false;
  bool no_pivot_root = false;
  bool no_new_keyring = false;
  std::uint32_t io_uid = 0;
  std::uint32_t io_gid = 0;
};

/// Options of an unknown type are ignored with a log line: they must not keep a container from
/// starting.
RuntimeOptions read_runtime_options(const std::string& type_url, const std::string& value);

/// The named file, else `fallback`; what the options say goes before what the file says. The error
/// is the sentence config/load.h gives.
Result<config::Config, std::string> effective_config(const RuntimeOptions& options,
                                                     const config::Config& fallback);
Result<oci::RuntimeSettings, std::string> runtime_settings(const RuntimeOptions& options,
                                                           const config::Config& fallback,
                                                           const std::string& containerd_namespace);

/// What `delete` needs after a crash, noted in the bundle: the runtime that made the container, and
/// the sockets of the shim that would be left behind.
struct CrashNote {
  oci::RuntimeSettings runtime;
  std::vector<std::string> sockets;
};
void write_crash_note(const std::string& bundle, const CrashNote& note);
std::optional<CrashNote> read_crash_note(const std::string& bundle);

}  // namespace shunt
