#include "shim/ttrpc/frame.h"

#include <doctest/doctest.h>

#include <vector>

using namespace shunt::ttrpc;

namespace {
std::string header(std::uint32_t length, std::uint32_t stream, int type, int flags) {
  std::string bytes;
  for (const std::uint32_t value : {length, stream})
    for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(value >> shift & 0xff);
  bytes += static_cast<char>(type);
  bytes += static_cast<char>(flags);
  return bytes;
}
}  // namespace

TEST_CASE("a frame comes back as it went, however it is split") {
  std::string bytes;
  append_frame(bytes, 7, FrameType::kRequest, "payload");
  append_frame(bytes, 9, FrameType::kResponse, "");  // a successful Empty
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    FrameReader reader;
    std::vector<Frame> frames;
    for (const auto& part : {bytes.substr(0, cut), bytes.substr(cut)}) {
      reader.feed(part);
      while (auto frame = reader.next()) frames.push_back(*frame);
    }
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].stream == 7);
    CHECK(frames[0].type == FrameType::kRequest);
    CHECK(frames[0].payload == "payload");
    CHECK(frames[1].stream == 9);
    CHECK(frames[1].payload.empty());
  }
}

TEST_CASE(
    "the largest payload passes; one byte more is skipped, reported, and the next frame is read") {
  FrameReader reader;
  std::string bytes;
  append_frame(bytes, 1, FrameType::kRequest, std::string(kMaxPayload, 'x'));
  reader.feed(bytes);
  auto frame = reader.next();
  REQUIRE(frame);
  CHECK(frame->payload.size() == kMaxPayload);

  reader.feed(header(kMaxPayload + 1, 3, 1, 0));
  CHECK_FALSE(reader.next());
  for (std::uint32_t left = kMaxPayload + 1; left > 0;) {
    const std::uint32_t part = std::min(left, 100'000U);
    reader.feed(std::string(part, 'x'));
    left -= part;
  }
  frame = reader.next();
  REQUIRE(frame);
  CHECK(frame->oversized);
  CHECK(frame->stream == 3);
  std::string after;
  append_frame(after, 5, FrameType::kRequest, "ok");
  reader.feed(after);
  frame = reader.next();
  REQUIRE(frame);
  CHECK(frame->payload == "ok");
}

TEST_CASE("a length of 4 GiB does not allocate") {
  FrameReader reader;
  reader.feed(header(0xffffffff, 1, 1, 0) + "abc");
  CHECK_FALSE(reader.next());
}

TEST_CASE("flags and unknown types are handed on") {
  FrameReader reader;
  reader.feed(header(0, 1, 77, kFlagRemoteOpen));
  const auto frame = reader.next();
  REQUIRE(frame);
  CHECK(static_cast<int>(frame->type) == 77);
  CHECK(frame->flags == kFlagRemoteOpen);
}
