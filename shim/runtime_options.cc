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
    if (!named.ParseFromString(value)) {
      log::warn("shim", "the runtime options do not parse and are ignored");
      return options;
    }
    options.config_path = named.config_path();
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

void write_crash_note(const std::string& bundle, const CrashNote& note) {
  const nlohmann::json json{{"binary", note.runtime.binary},
                            {"root", note.runtime.root},
                            {"systemd_cgroup", note.runtime.systemd_cgroup},
                            {"sockets", note.sockets}};
  if (const Status written = write_file_atomically(bundle + kNote, json.dump(), 0600); !written)
    log::warn("shim", "cannot note the runtime in {}: {}", bundle, describe(written.error()));
}

std::optional<CrashNote> read_crash_note(const std::string& bundle) {
  const auto json = nlohmann::json::parse(
      read_file(bundle + kNote, std::size_t{64} << 10U).value_or(""), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string{};
  };
  CrashNote note;
  note.runtime.binary = text("binary");
  note.runtime.root = text("root");
  const auto systemd = json.find("systemd_cgroup");
  note.runtime.systemd_cgroup =
      systemd != json.end() && systemd->is_boolean() && systemd->get<bool>();
  if (const auto sockets = json.find("sockets"); sockets != json.end() && sockets->is_array())
    for (const auto& socket : *sockets)
      if (socket.is_string()) note.sockets.push_back(socket);
  if (note.runtime.binary.empty() || note.runtime.root.empty()) return std::nullopt;
  return note;
}

}  // namespace shunt
