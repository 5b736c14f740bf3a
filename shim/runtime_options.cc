#include "shim/runtime_options.h"

#include <nlohmann/json.hpp>

#include "config/load.h"
#include "netstack/base/log.h"
#include "shim/files.h"
#include "shim/proto/options.pb.h"

namespace shunt {

RuntimeOptions read_runtime_options(const std::string& type_url, const std::string& value) {
  RuntimeOptions options;
  // containerd writes bare names; a prefix as protobuf's own packing would give is tolerated.
  const std::string type = type_url.substr(type_url.rfind('/') + 1);
  if (type.empty()) return options;
  if (type == "containerd.runc.v1.Options") {
    wire::RuncOptions runc;
    if (!runc.ParseFromString(value)) {
      log::warn("shim", "the runc options do not parse and are ignored");
      return options;
    }
    options.binary = runc.binary_name();
    options.root = runc.root();
    options.shim_cgroup = runc.shim_cgroup();
    options.systemd_cgroup = runc.systemd_cgroup();
    options.no_pivot_root = runc.no_pivot_root();
    options.no_new_keyring = runc.no_new_keyring();
    options.io_uid = runc.io_uid();
    options.io_gid = runc.io_gid();
  } else if (type == "runtimeoptions.v1.Options") {
    wire::RuntimeOptions named;
    if (named.ParseFromString(value)) options.config_path = named.config_path();
  } else {
    log::warn("shim", "runtime options of type {} are not known and are ignored", type);
  }
  return options;
}

Result<config::Config, std::string> effective_config(const RuntimeOptions& options,
                                                     const config::Config& fallback) {
  config::Config config = fallback;
  if (!options.config_path.empty()) {
    auto loaded = config::load_file(options.config_path);
    if (!loaded) return loaded.error();
    config = std::move(*loaded);
  }
  config::Runtime& runtime = config.runtime;
  if (!options.binary.empty()) runtime.binary = options.binary;
  if (!options.root.empty()) runtime.root = options.root;
  runtime.systemd_cgroup |= options.systemd_cgroup;
  runtime.no_pivot_root |= options.no_pivot_root;
  runtime.no_new_keyring |= options.no_new_keyring;
  return config;
}

Result<oci::RuntimeSettings, std::string> runtime_settings(
    const RuntimeOptions& options, const config::Config& fallback,
    const std::string& containerd_namespace) {
  const auto config = effective_config(options, fallback);
  if (!config) return config.error();
  const config::Runtime& runtime = config->runtime;
  oci::RuntimeSettings settings;
  settings.binary = runtime.binary;
  settings.root =
      (runtime.root.empty() ? config->state + "/runc" : runtime.root) + "/" + containerd_namespace;
  settings.systemd_cgroup = runtime.systemd_cgroup;
  settings.no_pivot_root = runtime.no_pivot_root;
  settings.no_new_keyring = runtime.no_new_keyring;
  settings.timeout = runtime.timeout;
  return settings;
}

namespace {
constexpr const char* kNote = "/shunt-runtime.json";
}

void remember_runtime(const std::string& bundle, const oci::RuntimeSettings& settings) {
  const nlohmann::json note{{"binary", settings.binary},
                            {"root", settings.root},
                            {"systemd_cgroup", settings.systemd_cgroup}};
  if (const Status written = write_file_atomically(bundle + kNote, note.dump(), 0600); !written)
    log::warn("shim", "cannot note the runtime in {}: {}", bundle, describe(written.error()));
}

std::optional<oci::RuntimeSettings> remembered_runtime(const std::string& bundle) {
  const auto note =
      nlohmann::json::parse(read_file(bundle + kNote, 64 * 1024).value_or(""), nullptr, false);
  if (!note.is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto it = note.find(key);
    return it != note.end() && it->is_string() ? it->get<std::string>() : std::string{};
  };
  oci::RuntimeSettings settings;
  settings.binary = text("binary");
  settings.root = text("root");
  const auto systemd = note.find("systemd_cgroup");
  settings.systemd_cgroup = systemd != note.end() && systemd->is_boolean() && systemd->get<bool>();
  if (settings.binary.empty() || settings.root.empty()) return std::nullopt;
  return settings;
}

}  // namespace shunt
