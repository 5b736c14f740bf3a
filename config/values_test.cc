#include "config/values.h"

#include <doctest/doctest.h>

using namespace shunt;
using namespace shunt::config;
using namespace std::chrono_literals;

namespace {

YamlNode scalar(std::string text) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = std::move(text);
  return node;
}

template <typename T>
T value(std::string text) {
  T out{};
  const Parsed parsed = read_value(scalar(std::move(text)), out);
  REQUIRE(parsed);
  return out;
}

template <typename T>
std::string refusal(std::string text) {
  T out{};
  const Parsed parsed = read_value(scalar(std::move(text)), out);
  REQUIRE(!parsed);
  return parsed.error().text;
}

}  // namespace

TEST_CASE("durations have a unit") {
  CHECK(value<Milliseconds>("500ms") == 500ms);
  CHECK(value<Milliseconds>("10s") == 10s);
  CHECK(value<Milliseconds>("2m") == 2min);
  CHECK(value<Milliseconds>("1h") == 1h);
  CHECK(value<Milliseconds>("0s") == 0s);
  for (const char* text : {"10", "10 s", "s", "-1s", "1.5s", "10S", "99999999999999h",
                           "18446744073709551616ms", "9223372036854775807ms"})
    CHECK(refusal<Milliseconds>(text) ==
          "must be a duration such as 500ms, 10s or 2m, not " + quote(text));
}

TEST_CASE("sizes are bytes or powers of 1024") {
  CHECK(value<std::uint64_t>("65536") == 65536);
  CHECK(value<std::uint64_t>("64KiB") == 65536);
  CHECK(value<std::uint64_t>("8MiB") == 8U << 20U);
  CHECK(value<std::uint64_t>("1GiB") == 1U << 30U);
  for (const char* text : {"8MB", "8M", "8 MiB", "-1", "", "0x10", "17179869184GiB"})
    CHECK(refusal<std::uint64_t>(text) ==
          "must be a size such as 65536, 64KiB or 8MiB, not " + quote(text));
}

TEST_CASE("counts and switches") {
  CHECK(value<std::uint32_t>("2048") == 2048);
  CHECK(refusal<std::uint32_t>("4294967296") == "must be a whole number, not \"4294967296\"");
  CHECK(refusal<std::uint32_t>("1KiB") == "must be a whole number, not \"1KiB\"");
  CHECK(value<bool>("true"));
  CHECK(refusal<bool>("yes") == "must be true or false, not \"yes\"");
}

TEST_CASE("words of a choice are listed") {
  CHECK(value<log::Level>("warn") == log::Level::kWarn);
  CHECK(refusal<log::Level>("loud") == "must be trace, debug, info, warn or error, not \"loud\"");
  CHECK(refusal<Pair>("udp") == "must be unix or tcp, not \"udp\"");
  CHECK(value<ShortLived>("upgrade") == ShortLived::kUpgrade);
  CHECK(refusal<ShortLived>("tcp") == "must be kernel or upgrade, not \"tcp\"");
  CHECK(refusal<IoUring>("maybe") == "must be deny or allow, not \"maybe\"");
}

TEST_CASE("values are written with the largest unit that fits") {
  CHECK(write_value(Milliseconds{60s}) == "1m");
  CHECK(write_value(Milliseconds{90s}) == "90s");
  CHECK(write_value(Milliseconds{1500ms}) == "1500ms");
  CHECK(write_value(Milliseconds{0}) == "0s");
  CHECK(write_value(std::uint64_t{65536}) == "64KiB");
  CHECK(write_value(std::uint64_t{65537}) == "65537");
  CHECK(write_value(std::uint64_t{0}) == "0");
  CHECK(write_value(Pair::kTcp) == "tcp");
  CHECK(write_value(false) == "false");
}

TEST_CASE("quoted text is one safe line") {
  CHECK(quote("a\nb\x7f\xc3\xa4") == "\"a\\x0ab\\x7f\\xc3\\xa4\"");
  CHECK(quote(std::string(100, 'x')) == '"' + std::string(60, 'x') + "...\"");
}
