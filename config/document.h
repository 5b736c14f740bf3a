// A YAML document as the rest of this folder sees it: nested values with their lines. Built by
// load.cc, read by apply.cc; no type of the YAML library appears here.
#pragma once

#include <string>
#include <vector>

namespace shunt::config {

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  int line = 0;                    ///< from 1; where the value starts
  std::string key;                 ///< its name in the mapping it belongs to
  int key_line = 0;                ///< from 1
  std::string text;                ///< of a scalar, unquoted
  std::vector<YamlNode> children;  ///< of a list or mapping, in file order; duplicate keys are kept
};

/// What is wrong with a document.
struct Problem {
  int line = 0;      ///< from 1; 0 if no line of the file is to blame
  std::string text;  ///< a sentence without its full stop
};

}  // namespace shunt::config
