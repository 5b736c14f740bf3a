// -info: what this runtime is, and what the OCI runtime under it can do (containerd 2.0+).
#include <unistd.h>

#include "config/load.h"
#include "shim/files.h"
#include "shim/process/child.h"
#include "shim/proto/options.pb.h"
#include "shim/runtime_options.h"
#include "shim/start.h"

namespace shunt {
int run_info(const CommandLine&) {
  const std::string input = read_descriptor(STDIN_FILENO, 4 << 20);
  wire::RuntimeInfo info;
  info.set_name("io.containerd.shunt.v2");
  info.mutable_version()->set_version(SHUNT_VERSION);
  config::Config config;
  if (auto loaded = config::load_default()) config = *loaded;
  if (wire::Any options; !input.empty() && options.ParseFromString(input)) {
    *info.mutable_options() = options;
    const auto named = read_runtime_options(options.type_url(), options.value());
    auto effective = effective_config(named, config);
    if (!effective) {
      std::fprintf(stderr, "containerd-shim-shunt-v2: %s\n", effective.error().c_str());
      return 1;
    }
    config = std::move(*effective);
  }
  // A runtime without that command gives nothing, and so do we.
  if (auto features = output_of({config.runtime.binary, "features"})) {
    info.mutable_features()->set_type_url(
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features");
    info.mutable_features()->set_value(std::move(*features));
  }
  return write_all(STDOUT_FILENO, info.SerializeAsString()) ? 0 : 1;
}

}  // namespace shunt
