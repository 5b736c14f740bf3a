#include "netstack/ring/record.h"

#include <doctest/doctest.h>

#include <array>
#include <string_view>

using namespace shunt::ring;

namespace {
std::vector<std::byte> encoded(const Record& record) {
  std::vector<std::byte> out;
  encode(record, out);
  return out;
}
std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span{text});
}
}  // namespace

TEST_CASE("records come back as they went") {
  const std::array records{
      Record{.op = Op::kInline, .stream = 7, .bytes = bytes_of("hello")},
      Record{.op = Op::kData, .stream = 0xFFFFFFFF, .cursor = 1ull << 40, .bytes = {}},
      Record{.op = Op::kCredit, .stream = 1, .cursor = ~0ull, .bytes = {}},
      Record{.op = Op::kGrant, .stream = 2, .offset = 65536, .size = 16384, .key = 99, .bytes = {}},
      Record{.op = Op::kFinish, .stream = 3, .bytes = {}},
      Record{.op = Op::kUrgent, .stream = 3, .bytes = bytes_of("!")},
      Record{.op = Op::kReset, .stream = 4, .error = ECONNRESET, .bytes = {}},
  };
  std::vector<std::byte> all;
  for (const auto& record : records) encode(record, all);
  std::span<const std::byte> rest{all};
  for (const auto& record : records) {
    const auto got = decode(rest);
    REQUIRE(got);
    CHECK(got->op == record.op);
    CHECK(got->stream == record.stream);
    CHECK(got->cursor == record.cursor);
    CHECK(got->offset == record.offset);
    CHECK(got->size == record.size);
    CHECK(got->key == record.key);
    CHECK(got->error == record.error);
    CHECK(
        std::equal(got->bytes.begin(), got->bytes.end(), record.bytes.begin(), record.bytes.end()));
  }
  CHECK(rest.empty());
}

TEST_CASE("the bytes are those of WIRE.md") {
  const auto bytes = encoded({.op = Op::kData, .stream = 0x0102, .cursor = 0x10000, .bytes = {}});
  const std::array<std::uint8_t, 16> expected{2, 0, 8, 0, 2, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0};
  REQUIRE(bytes.size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(std::to_integer<int>(bytes[i]) == expected[i]);
}

TEST_CASE("what is no record is refused") {
  const auto refused = [](std::vector<std::byte> bytes) {
    std::span<const std::byte> rest{bytes};
    return !decode(rest);
  };
  const auto good = encoded({.op = Op::kInline, .stream = 7, .bytes = bytes_of("hello")});
  CHECK_FALSE(refused(good));
  for (std::size_t size = 1; size < good.size(); ++size)
    CHECK(refused({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)}));
  const auto with = [&](std::size_t at, int value) {
    auto bytes = good;
    bytes[at] = static_cast<std::byte>(value);
    return bytes;
  };
  CHECK(refused(with(0, 0)));  // no such operation
  CHECK(refused(with(0, 11)));
  CHECK(refused(with(0, 2)));  // an operation of another length
  CHECK(refused(with(1, 1)));  // a flag nobody knows
  CHECK(refused(with(2, 0)));  // an empty kInline
  CHECK(refused(with(2, 9)));  // longer than what is there
  CHECK(refused(with(3, 255)));
  CHECK(refused(with(15, 1)));  // padding that is not zero
}
