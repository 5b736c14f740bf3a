#include "config/apply.h"

#include <fmt/core.h>

#include <algorithm>

#include "config/keys.h"
#include "config/nearest.h"

namespace shunt::config {
namespace {

const Key* find_key(std::string_view name) {
  const auto found =
      std::find_if(keys().begin(), keys().end(), [&](const Key& key) { return key.name == name; });
  return found == keys().end() ? nullptr : &*found;
}

bool is_section(std::string_view name) {
  return std::any_of(keys().begin(), keys().end(),
                     [&](const Key& key) { return section(key.name) == name; });
}

std::string unknown_key(std::string_view name, std::string_view within) {
  if (const std::string_view near = nearest_key(name); !near.empty())
    return fmt::format("unknown key {}; did you mean \"{}\"?", quote(name), near);
  if (within.empty())
    return fmt::format("unknown key {}; the keys are {}", quote(name), names_in(within));
  return fmt::format("unknown key {}; the keys of \"{}\" are {}", quote(name), within,
                     names_in(within));
}

void apply_map(const YamlNode& map, std::string_view within, Applied& out);

void apply_entry(const YamlNode& node, std::string_view within, Applied& out) {
  if (within.empty() && find_key(node.key) != nullptr && !section(node.key).empty()) {
    out.problems.push_back(
        {node.key_line, fmt::format("write \"{}\" as \"{}\" inside a mapping \"{}\"", node.key,
                                    leaf(node.key), section(node.key))});
    return;
  }
  const std::string name = within.empty() ? node.key : fmt::format("{}.{}", within, node.key);
  if (const Key* key = find_key(name); key != nullptr) {
    out.lines[key->name] = node.key_line;
    if (const Parsed parsed = key->read(out.config, node); !parsed)
      out.problems.push_back(
          {parsed.error().line, fmt::format("\"{}\" {}", name, parsed.error().text)});
  } else if (!name.empty() && is_section(name)) {
    if (node.kind == YamlNode::Kind::kMap)
      apply_map(node, name, out);
    else if (node.kind !=
             YamlNode::Kind::kNull)  // a section whose keys are all commented out is fine
      out.problems.push_back(
          {node.line, fmt::format("\"{}\" must be a mapping of the keys {}, not {}", name,
                                  names_in(name), describe(node))});
  } else {
    out.problems.push_back({node.key_line, unknown_key(name, within)});
  }
}

void apply_map(const YamlNode& map, std::string_view within, Applied& out) {
  std::map<std::string_view, int> seen;
  for (const YamlNode& node : map.children) {
    const auto [first, is_new] = seen.try_emplace(node.key, node.key_line);
    if (is_new) {
      apply_entry(node, within, out);
      continue;
    }
    const std::string name = within.empty() ? node.key : fmt::format("{}.{}", within, node.key);
    out.problems.push_back({node.key_line, fmt::format("{} is given twice, first on line {}",
                                                       quote(name), first->second)});
  }
}

}  // namespace

Applied apply(const YamlNode& root) {
  Applied out;
  if (root.kind == YamlNode::Kind::kMap)
    apply_map(root, {}, out);
  else if (root.kind != YamlNode::Kind::kNull)
    out.problems.push_back(
        {root.line, fmt::format("the file must be a mapping of the keys {}, not {}", names_in({}),
                                describe(root))});
  return out;
}

}  // namespace shunt::config
