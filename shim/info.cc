// -info: what this runtime is, and what the OCI runtime under it can do (containerd 2.0+).
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/load.h"
#include "shim/files.h"
#include "shim/process/child.h"
#include "shim/proto/options.pb.h"
#include "shim/runtime_options.h"
#include "shim/start.h"

namespace shunt {
namespace {

// `runc features` prints JSON; a runtime without that command gives nothing, and so do we.
std::string runtime_features(const std::string& binary) {
  const UniqueFd output{::memfd_create("features", MFD_CLOEXEC)};
  ChildSpec child;
  child.argv = {binary, "features"};
  child.descriptors = {{output.get(), 1}};
  const auto pid = start_child(child);
  if (!pid) return {};
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return {};
  ::lseek(output.get(), 0, SEEK_SET);
  return read_descriptor(output.get(), 1 << 20);
}

}  // namespace

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
  if (std::string features = runtime_features(config.runtime.binary); !features.empty()) {
    info.mutable_features()->set_type_url(
        "types.containerd.io/opencontainers/runtime-spec/1/features/Features");
    info.mutable_features()->set_value(std::move(features));
  }
  return write_all(STDOUT_FILENO, info.SerializeAsString()) ? 0 : 1;
}

}  // namespace shunt
