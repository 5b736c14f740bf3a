// From a parsed document to a Config: known keys set their members, everything else is a problem.
// Used by load.cc and by the test of reference.yaml.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/document.h"

namespace shunt::config {

struct Applied {
  Config config;
  std::map<std::string_view, int> lines;  ///< keys the document sets, and where
  std::vector<Problem> problems;          ///< in the order of the file; empty if all was understood
};

Applied apply(const YamlNode& root);

}  // namespace shunt::config
