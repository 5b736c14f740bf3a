#include "netstack/fabric/fabric.h"

namespace shunt::fabric {

std::string_view name(Kind kind) {
  switch (kind) {
    case Kind::kMemory:
      return "memory";
    case Kind::kHost:
      return "host";
    case Kind::kWindow:
      return "window";
    case Kind::kVerbs:
      return "verbs";
  }
  return "unknown";
}

}  // namespace shunt::fabric
