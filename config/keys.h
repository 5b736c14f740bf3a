// The table of keys: the one place that ties a name in the file to a member of Config, its help
// sentence and its limits. Reading, checking, "did you mean" and the test of reference.yaml all
// walk this table. To add a key: a member in config.h, a row in keys.cc, a line in reference.yaml.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "config/values.h"

namespace shunt::config {

using Verdict = Result<Done, std::string>;

struct Key {
  std::string_view name;  ///< "upgrade.pair": section, dot, leaf; or a leaf of the top level
  std::string_view help;  ///< one sentence; reference.yaml repeats it
  std::function<Parsed(Config&, const YamlNode&)> read;
  std::function<std::string(const Config&)> write;
  /// Done, or the end of a sentence that begins with the key: `must be at least 1s, not 0s`.
  std::function<Verdict(const Config&)> check;
};

std::span<const Key> keys();

/// "pair" of "upgrade.pair"; the name itself if it has no dot.
std::string_view leaf(std::string_view name);
/// "upgrade" of "upgrade.pair"; empty for a key of the top level.
std::string_view section(std::string_view name);
/// "enabled, pair, loopback": the leaves of a section, or for "" the keys and sections of the top.
std::string names_in(std::string_view section);

}  // namespace shunt::config
