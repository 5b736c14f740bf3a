// Messages to bytes and back: pure functions, fuzzed (codec_fuzz.cc). WIRE.md is the specification.
#pragma once

#include <cstdint>
#include <optional>

#include "netstack/control/message.h"

namespace shunt::control {

/// A frame as it is on the wire. `payload` borrows from what frame() was given.
struct Frame {
  std::uint8_t type = 0;
  View payload;
  std::size_t size = 0;  ///< bytes of the whole frame
};

constexpr std::size_t kFrameHeader = 5;  ///< u32 length of what follows it, u8 type

/// A whole frame. Requires: sizes within the limits of message.h; text is cut to kMaxText.
Bytes encode(const Message& message);

enum class Framing : std::uint8_t { kWhole, kMore, kBad };
/// The first frame in `bytes`. kMore: it has not all come. kBad: no frame can have this length.
Framing frame(View bytes, Frame& out);

/// Empty: malformed, or a type that must not be skipped and is not known.
std::optional<Message> decode(std::uint8_t type, View payload);

}  // namespace shunt::control
