// Reading the configuration: YAML in, a checked Config or one sentence out. Called by main before
// threads start. The sentence names the file and line, what is wrong, and what would be right:
//
//   /etc/shunt/config.yaml:3: unknown key "upgrade.piar"; did you mean "upgrade.pair"?
//
// With several problems it is about the first and counts the others. Nothing in the input makes
// these functions crash, hang or take more than a few MiB.
#pragma once

#include <string>
#include <string_view>

#include "config/config.h"
#include "config/document.h"

namespace shunt::config {

inline constexpr const char* kDefaultPath = "/etc/shunt/config.yaml";
inline constexpr std::size_t kMaxFileSize = std::size_t{1} << 20U;

Result<Config, std::string> load_file(const std::string& path);

/// `name` stands for the file in the sentence. An empty document gives the defaults.
Result<Config, std::string> load_text(std::string_view yaml, std::string_view name);

/// kDefaultPath if there is such a file, else the defaults.
Result<Config, std::string> load_default();

/// The document as it stands, keys not looked at yet.
Result<YamlNode, std::string> parse_document(std::string_view yaml, std::string_view name);

}  // namespace shunt::config
