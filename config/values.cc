#include "config/values.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <span>

namespace shunt::config {
namespace {

struct Unit {
  std::string_view suffix;
  std::uint64_t factor = 1;
};
// Largest first, so that writing finds the largest that fits.
constexpr std::array kSizes{Unit{"GiB", 1U << 30U}, Unit{"MiB", 1U << 20U}, Unit{"KiB", 1U << 10U},
                            Unit{"", 1}};
constexpr std::array kDurations{Unit{"h", 3'600'000}, Unit{"m", 60'000}, Unit{"s", 1000},
                                Unit{"ms", 1}};

template <typename E>
struct Word {
  std::string_view word;
  E value;
};
constexpr std::array kLevels{
    Word<log::Level>{"trace", log::Level::kTrace}, Word<log::Level>{"debug", log::Level::kDebug},
    Word<log::Level>{"info", log::Level::kInfo}, Word<log::Level>{"warn", log::Level::kWarn},
    Word<log::Level>{"error", log::Level::kError}};
constexpr std::array kPairs{Word<Pair>{"unix", Pair::kUnix}, Word<Pair>{"tcp", Pair::kTcp}};
constexpr std::array kIoUrings{Word<IoUring>{"deny", IoUring::kDeny},
                               Word<IoUring>{"allow", IoUring::kAllow}};
constexpr std::array kShortLiveds{Word<ShortLived>{"kernel", ShortLived::kKernel},
                                  Word<ShortLived>{"upgrade", ShortLived::kUpgrade}};
constexpr std::array kGuards{Word<Guard>{"required", Guard::kRequired},
                             Word<Guard>{"off", Guard::kOff}};
constexpr std::array kFabrics{Word<FabricName>{"host", FabricName::kHost},
                              Word<FabricName>{"window", FabricName::kWindow},
                              Word<FabricName>{"verbs", FabricName::kVerbs}};
constexpr std::array kBools{Word<bool>{"true", true}, Word<bool>{"false", false}};

constexpr std::string_view kSize = "a size such as 65536, 64KiB or 8MiB";
constexpr std::string_view kDuration = "a duration such as 500ms, 10s or 2m";
constexpr std::string_view kCount = "a whole number";
constexpr std::string_view kFabricList = "a list of fabrics: host, window, verbs";
constexpr std::string_view kRanges = "a list of address ranges such as 10.0.0.0/8 or fc00::/7";

Problem must_be(std::string_view expected, const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kNull)
    return {node.line, fmt::format("has no value; it must be {}", expected)};
  return {node.line, fmt::format("must be {}, not {}", expected, describe(node))};
}

/// "trace, debug or info"
template <typename Words>
std::string alternatives(const Words& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += words[i].word;
  }
  return out;
}

template <typename Words, typename T>
Parsed read_word(const Words& words, const YamlNode& node, T& into) {
  if (node.kind == YamlNode::Kind::kScalar)
    for (const auto& candidate : words)
      if (candidate.word == node.text) {
        into = candidate.value;
        return Done{};
      }
  return must_be(alternatives(words), node);
}

template <typename Words, typename T>
std::string write_word(const Words& words, T value) {
  for (const auto& candidate : words)
    if (candidate.value == value) return std::string{candidate.word};
  return {};
}

/// Digits and one of the suffixes; empty for anything else and for what 64 bits cannot hold.
std::optional<std::uint64_t> read_units(std::span<const Unit> units, const YamlNode& node) {
  if (node.kind != YamlNode::Kind::kScalar) return std::nullopt;
  const char* const end = node.text.data() + node.text.size();
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(node.text.data(), end, number);
  if (error != std::errc{}) return std::nullopt;
  const std::string_view suffix{rest, static_cast<std::size_t>(end - rest)};
  for (const Unit& unit : units) {
    if (unit.suffix != suffix) continue;
    if (number > std::numeric_limits<std::uint64_t>::max() / unit.factor) return std::nullopt;
    return number * unit.factor;
  }
  return std::nullopt;
}

std::string write_units(std::span<const Unit> units, std::uint64_t value, std::string_view zero) {
  if (value == 0) return std::string{zero};
  for (const Unit& unit : units)
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.suffix);
  return {};
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string out;
  for (const char c : text.substr(0, kLongest)) {
    if (c >= ' ' && c <= '~')
      out += c;
    else
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  if (text.size() > kLongest) out += "...";
  return out;
}

std::string quote(std::string_view text) { return '"' + printable(text) + '"'; }

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return quote(node.text);
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a mapping";
  }
  return {};
}

Parsed read_value(const YamlNode& node, bool& into) { return read_word(kBools, node, into); }
Parsed read_value(const YamlNode& node, log::Level& into) { return read_word(kLevels, node, into); }
Parsed read_value(const YamlNode& node, Pair& into) { return read_word(kPairs, node, into); }
Parsed read_value(const YamlNode& node, IoUring& into) { return read_word(kIoUrings, node, into); }

Parsed read_value(const YamlNode& node, ShortLived& into) {
  return read_word(kShortLiveds, node, into);
}

Parsed read_value(const YamlNode& node, Guard& into) { return read_word(kGuards, node, into); }

Parsed read_value(const YamlNode& node, std::string& into) {
  if (node.kind != YamlNode::Kind::kScalar) return must_be("a text", node);
  into = node.text;
  return Done{};
}

Parsed read_value(const YamlNode& node, std::uint32_t& into) {
  constexpr std::array kPlain{Unit{"", 1}};
  const auto count = read_units(kPlain, node);
  if (!count || *count > std::numeric_limits<std::uint32_t>::max()) return must_be(kCount, node);
  into = static_cast<std::uint32_t>(*count);
  return Done{};
}

Parsed read_value(const YamlNode& node, std::int32_t& into) {
  if (node.kind != YamlNode::Kind::kScalar) return must_be(kCount, node);
  const char* const end = node.text.data() + node.text.size();
  std::int32_t number = 0;
  const auto [rest, error] = std::from_chars(node.text.data(), end, number);
  if (error != std::errc{} || rest != end) return must_be(kCount, node);
  into = number;
  return Done{};
}

Parsed read_value(const YamlNode& node, std::uint64_t& into) {
  const auto bytes = read_units(kSizes, node);
  if (!bytes) return must_be(kSize, node);
  into = *bytes;
  return Done{};
}

Parsed read_value(const YamlNode& node, Milliseconds& into) {
  const auto duration = read_units(kDurations, node);
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<Milliseconds::rep>::max());
  // The limit keeps conversions to nanoseconds, which the clocks count in, from overflowing.
  if (!duration || *duration > kMost / 1'000'000) return must_be(kDuration, node);
  into = Milliseconds{static_cast<Milliseconds::rep>(*duration)};
  return Done{};
}

Parsed read_value(const YamlNode& node, std::vector<Cidr>& into) {
  if (node.kind != YamlNode::Kind::kList) return must_be(kRanges, node);
  std::vector<Cidr> ranges;
  for (const YamlNode& item : node.children) {
    if (item.kind != YamlNode::Kind::kScalar) return must_be(kRanges, item);
    const auto range = Cidr::parse(item.text);
    if (!range)
      return Problem{item.line,
                     fmt::format("must be {}; {} {}", kRanges, quote(item.text), range.error())};
    ranges.push_back(*range);
  }
  into = std::move(ranges);
  return Done{};
}

Parsed read_value(const YamlNode& node, std::vector<FabricName>& into) {
  if (node.kind != YamlNode::Kind::kList) return must_be(kFabricList, node);
  std::vector<FabricName> names;
  for (const YamlNode& item : node.children) {
    FabricName name{};
    if (const Parsed read = read_word(kFabrics, item, name); !read) return read.error();
    names.push_back(name);
  }
  into = std::move(names);
  return Done{};
}

std::string write_value(bool value) { return write_word(kBools, value); }
std::string write_value(log::Level value) { return write_word(kLevels, value); }
std::string write_value(Pair value) { return write_word(kPairs, value); }
std::string write_value(IoUring value) { return write_word(kIoUrings, value); }
std::string write_value(ShortLived value) { return write_word(kShortLiveds, value); }
std::string write_value(Guard value) { return write_word(kGuards, value); }
std::string write_value(std::int32_t value) { return fmt::format("{}", value); }
std::string write_value(const std::string& value) { return quote(value); }
std::string write_value(std::uint32_t value) { return fmt::format("{}", value); }
std::string write_value(std::uint64_t value) { return write_units(kSizes, value, "0"); }
std::string write_value(Milliseconds value) {
  return write_units(kDurations, static_cast<std::uint64_t>(value.count()), "0s");
}
std::string write_value(const std::vector<Cidr>& value) {
  std::string out;
  for (const Cidr& range : value) out += (out.empty() ? "" : ", ") + range.text();
  return '[' + out + ']';
}
std::string write_value(const std::vector<FabricName>& value) {
  std::string out;
  for (const FabricName name : value) out += (out.empty() ? "" : ", ") + write_word(kFabrics, name);
  return '[' + out + ']';
}

}  // namespace shunt::config
