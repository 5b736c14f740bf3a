// ttrpc framing: bytes in, frames out. Pure, so that split, oversized and hostile input can be
// tested and fuzzed without a socket.
//
// A frame is a 10-byte header (u32 BE payload length, u32 BE stream id, u8 type, u8 flags) and a
// payload of at most 4 MiB; a successful Empty response has length 0. Source: containerd/ttrpc
// PROTOCOL.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shunt::ttrpc {

inline constexpr std::size_t kHeaderSize = 10;
inline constexpr std::uint32_t kMaxPayload = 4U << 20;
/// What an empty buffer may keep allocated: one large exec spec must not stay.
inline constexpr std::size_t kMostKept = 64U << 10;

enum class FrameType : std::uint8_t { kRequest = 1, kResponse = 2, kData = 3 };
inline constexpr std::uint8_t kFlagRemoteClosed = 1;
inline constexpr std::uint8_t kFlagRemoteOpen = 2;

struct Frame {
  std::uint32_t stream = 0;
  FrameType type =
      FrameType::kRequest;  ///< may hold a number that is no FrameType: ignore such frames
  std::uint8_t flags = 0;
  bool oversized = false;  ///< the payload was longer than kMaxPayload and has been skipped
  std::string payload;
};

/// Collects bytes and cuts them into frames. Memory grows with the bytes received, not with the
/// length a header announces.
class FrameReader {
 public:
  void feed(std::string_view bytes);
  std::optional<Frame> next();  ///< empty: more bytes are needed

 private:
  std::string buffer_;
  std::size_t start_ = 0;      ///< of what next() has not yet consumed
  std::uint64_t to_skip_ = 0;  ///< rest of an oversized payload
  std::optional<Frame> skipping_;
};

/// Appends a frame to `out`. Requires: payload at most kMaxPayload.
void append_frame(std::string& out, std::uint32_t stream, FrameType type, std::string_view payload);

}  // namespace shunt::ttrpc
