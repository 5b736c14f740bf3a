// Does a Config make sense? Limits of single keys (from their table) and values that contradict
// each other. load.h runs it on every file; call it too on a Config changed in other ways, such as
// by annotations of a container.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace shunt::config {

struct Complaint {
  std::string_view key;  ///< the key to change
  std::string text;      ///< a sentence without its full stop, beginning with the key
};

/// Every complaint, in the order of the table; empty if the config can be used.
std::vector<Complaint> check(const Config& config);

}  // namespace shunt::config
