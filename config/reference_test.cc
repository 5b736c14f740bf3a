// reference.yaml is the documentation of the keys: it must say all of them, with the defaults and
// the help sentences of the table.
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>
#include <vector>

#include "config/apply.h"
#include "config/keys.h"
#include "config/load.h"

using namespace shunt::config;

namespace {

std::string reference_text() {
  std::ifstream file{SHUNT_REFERENCE_YAML};
  REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// The comment lines right above line `line` (from 1), joined by spaces.
std::string comment_above(const std::vector<std::string>& lines, int line) {
  std::string comment;
  for (std::size_t i = static_cast<std::size_t>(line) - 1; i-- > 0;) {
    const std::size_t start = lines[i].find_first_not_of(' ');
    if (start == std::string::npos || lines[i][start] != '#') break;
    comment.insert(0, lines[i].substr(start + 2) + (comment.empty() ? "" : " "));
  }
  return comment;
}

}  // namespace

TEST_CASE("reference.yaml is the defaults") {
  const auto config = load_file(SHUNT_REFERENCE_YAML);
  REQUIRE_MESSAGE(config, (config ? "" : config.error()));
  for (const Key& key : keys()) {
    CAPTURE(key.name);
    CHECK(key.write(*config) == key.write(Config{}));
  }
  CHECK(*config == Config{});
}

TEST_CASE("reference.yaml has every key with its help sentence") {
  const std::string text = reference_text();
  const auto document = parse_document(text, SHUNT_REFERENCE_YAML);
  REQUIRE(document);
  const Applied applied = apply(*document);
  REQUIRE(applied.problems.empty());  // no key that the table lacks

  std::vector<std::string> lines;
  std::istringstream stream{text};
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  for (const Key& key : keys()) {
    CAPTURE(key.name);
    const auto line = applied.lines.find(key.name);
    REQUIRE_MESSAGE(line != applied.lines.end(), "reference.yaml lacks this key");
    CHECK(comment_above(lines, line->second) == key.help);
  }
}

TEST_CASE("the table is sound") {
  for (const Key& key : keys()) {
    CAPTURE(key.name);
    CHECK(key.help.back() == '.');
    CHECK(key.check(Config{}));
    int same = 0;
    for (const Key& other : keys()) {
      if (other.name == key.name) ++same;
      CHECK(section(other.name) != key.name);  // a name is a key or a section, not both
    }
    CHECK(same == 1);
  }
  CHECK(names_in("") == "state, log, runtime, stdio, events, upgrade, fabrics");
  CHECK(names_in("fabrics.host") == "address, port, ports, guard");
  CHECK(names_in("fabrics") ==
        "enabled, port, wait, forget, silence, key_file, host, window, verbs");
}
