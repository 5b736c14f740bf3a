// The key that the shims of all nodes share (`fabrics.key_file`).
#pragma once

#include <string>

#include "netstack/base/result.h"

namespace shunt::sandbox {

struct ClusterKey {
  std::string bytes;  ///< none if no file is configured
};

/// Of the file at `path`, which may be empty. An error is a sentence that names it.
Result<ClusterKey, std::string> read_cluster_key(const std::string& path);

}  // namespace shunt::sandbox
