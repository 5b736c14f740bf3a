// `shunt inspect`: what Shunt did for a pod or container, asked from the shims of this node.
#pragma once

#include <string>

namespace shunt::command {

struct InspectOptions {
  std::string
      name;  ///< a pod or container: id (or its beginning), pod name, or namespace/name; empty: all
  std::string state;  ///< the state directory
  bool json = false;
  bool watch = false;  ///< again every second, until interrupted
};

int inspect(const InspectOptions& options);

}  // namespace shunt::command
