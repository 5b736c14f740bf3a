// The only file that sees yaml-cpp, and the only one of the project where exceptions are caught.
//
// The library's parser is used through its events, not its node tree: aliases never get resolved
// (so they cannot multiply), duplicate keys stay visible, and depth and count are bounded while
// parsing, not after.
#include "config/load.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <sstream>

#include "config/apply.h"
#include "config/check.h"
#include "config/values.h"
#include "netstack/base/unique_fd.h"

namespace shunt::config {
namespace {

constexpr std::size_t kMaxDepth = 8;      // the deepest key needs 3
constexpr std::size_t kMaxNodes = 10000;  // far above what a full file has

/// Thrown through yaml-cpp's parser to end it; a Problem outside.
struct Refusal {
  Problem problem;
};

class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_extras(mark, "", anchor);
    add(make(YamlNode::Kind::kNull, mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_extras(mark, "", 1); }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override { refuse_extras(mark, "", 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_extras(mark, tag, anchor);
    YamlNode node = make(YamlNode::Kind::kScalar, mark);
    node.text = value;
    add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kList, mark, tag, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::kMap, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    bool has_key = false;  // of a mapping: `key` waits for its value
    std::string key;
    int key_line = 0;
  };

  [[noreturn]] static void refuse(int line, std::string text) {
    throw Refusal{{line, std::move(text)}};
  }

  // Plain scalars have the tag "?", quoted ones "!".
  static void refuse_extras(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) refuse(mark.line + 1, "anchors and aliases are not allowed");
    if (!tag.empty() && tag != "?" && tag != "!")
      refuse(mark.line + 1, fmt::format("the YAML tag {} is not allowed", quote(tag)));
  }

  YamlNode make(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (++nodes_ > kMaxNodes)
      refuse(mark.line + 1, fmt::format("the file has more than {} values", kMaxNodes));
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    return node;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    refuse_extras(mark, tag, anchor);
    if (awaits_key()) refuse(mark.line + 1, "a key must be a word, not a list or mapping");
    if (open_.size() == kMaxDepth)
      refuse(mark.line + 1, fmt::format("values are nested deeper than {} levels", kMaxDepth));
    open_.emplace_back().node = make(kind, mark);
  }

  void close() {
    YamlNode done = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(done));
  }

  bool awaits_key() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap &&
           !open_.back().has_key;
  }

  void add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (awaits_key()) {
      if (node.kind == YamlNode::Kind::kNull)
        refuse(node.line, "a key is missing before the \":\"");
      parent.has_key = true;
      parent.key = std::move(node.text);
      parent.key_line = node.line;
      return;
    }
    if (parent.node.kind == YamlNode::Kind::kMap) {
      parent.has_key = false;
      node.key = std::move(parent.key);
      node.key_line = parent.key_line;
      // The library reports the place of an absent value as that of the token after it.
      if (node.kind == YamlNode::Kind::kNull) node.line = node.key_line;
    }
    parent.node.children.push_back(std::move(node));
  }

  YamlNode root_;
  std::vector<Open> open_;
  std::size_t nodes_ = 0;
};

std::string sentence(std::string_view file, const Problem& problem, std::size_t others = 0) {
  std::string where{file};
  if (problem.line > 0) where += fmt::format(":{}", problem.line);
  std::string more;
  if (others > 0) more = fmt::format(" (and {} more problem{})", others, others == 1 ? "" : "s");
  return fmt::format("{}: {}{}", where, problem.text, more);
}

/// Whether a tab is in front of the words of that line, the first being 0.
bool begins_with_tab(std::string_view text, int line) {
  for (; line > 0; --line) text.remove_prefix(text.find('\n') + 1);
  return text.substr(0, text.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
}

Result<YamlNode, Problem> parse(std::string_view yaml) {
  if (yaml.size() > kMaxFileSize)
    return Problem{0, fmt::format("the file is larger than {}", write_value(kMaxFileSize))};
  try {
    std::istringstream stream{std::string{yaml}};
    YAML::Parser parser{stream};
    TreeBuilder tree;
    parser.HandleNextDocument(tree);  // false for an input without a document: the root stays null
    TreeBuilder second;
    if (parser.HandleNextDocument(second))
      return Problem{0, "the file has more than one YAML document"};
    return tree.take_root();
  } catch (const Refusal& refusal) {
    return refusal.problem;
  } catch (const YAML::Exception& error) {
    const bool tabs = begins_with_tab(yaml, error.mark.line);
    return Problem{error.mark.line + 1,
                   fmt::format("this is not valid YAML ({})",
                               tabs ? "indent with spaces, not tabs" : printable(error.msg))};
  } catch (const std::exception& error) {
    return Problem{0, fmt::format("this is not valid YAML ({})", printable(error.what()))};
  }
}

Result<std::string, Error> read_all(const std::string& path) {
  // O_NONBLOCK: a fifo in the file's place must not hang the shim.
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd.valid()) return last_error("open");
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return last_error("fstat");
  if (S_ISDIR(info.st_mode)) return Error{EISDIR, "open"};
  if (!S_ISREG(info.st_mode)) return Error{EINVAL, "open"};

  std::string text(std::min(static_cast<std::size_t>(info.st_size), kMaxFileSize) + 1, '\0');
  std::size_t used = 0;
  while (used < text.size()) {  // the byte more than its size tells that a file is too large
    const ssize_t got = ::read(fd.get(), text.data() + used, text.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return last_error("read");
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  text.resize(used);
  return text;
}

std::string unreadable(const std::string& path, const Error& error) {
  const char* reason = error.number == EINVAL ? "not a regular file" : std::strerror(error.number);
  return fmt::format("{}: the file cannot be read ({})", path, reason);
}

}  // namespace

Result<YamlNode, std::string> parse_document(std::string_view yaml, std::string_view name) {
  auto document = parse(yaml);
  if (!document) return sentence(name, document.error());
  return std::move(*document);
}

Result<Config, std::string> load_text(std::string_view yaml, std::string_view name) {
  const auto document = parse(yaml);
  if (!document) return sentence(name, document.error());

  Applied applied = apply(*document);
  if (!applied.problems.empty())
    return sentence(name, applied.problems.front(), applied.problems.size() - 1);

  const std::vector<Complaint> complaints = check(applied.config);
  if (complaints.empty()) return std::move(applied.config);
  const auto line = applied.lines.find(complaints.front().key);
  return sentence(name, {line == applied.lines.end() ? 0 : line->second, complaints.front().text},
                  complaints.size() - 1);
}

Result<Config, std::string> load_file(const std::string& path) {
  const auto text = read_all(path);
  if (!text) return unreadable(path, text.error());
  return load_text(*text, path);
}

Result<Config, std::string> load_default() {
  const auto text = read_all(kDefaultPath);
  if (!text && text.error().number == ENOENT) return Config{};
  if (!text) return unreadable(kDefaultPath, text.error());
  return load_text(*text, kDefaultPath);
}

}  // namespace shunt::config
