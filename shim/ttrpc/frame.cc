#include "shim/ttrpc/frame.h"

#include <algorithm>
#include <array>

namespace shunt::ttrpc {
namespace {

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<std::uint8_t>(byte);
  return value;
}

void append_big_endian(std::string& out, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>(value >> shift & 0xff);
}

}  // namespace

void FrameReader::feed(std::string_view bytes) {
  const auto skip = static_cast<std::size_t>(std::min<std::uint64_t>(to_skip_, bytes.size()));
  to_skip_ -= skip;
  bytes.remove_prefix(skip);
  if (start_ == buffer_.size()) {
    buffer_.clear();
    if (buffer_.capacity() > kMostKept) buffer_.shrink_to_fit();
    start_ = 0;
  }
  buffer_.append(bytes);
}

std::optional<Frame> FrameReader::next() {
  if (skipping_) {
    if (to_skip_ > 0) return std::nullopt;
    auto frame = std::move(skipping_);
    skipping_.reset();
    return frame;
  }
  const std::string_view rest = std::string_view{buffer_}.substr(start_);
  if (rest.size() < kHeaderSize) return std::nullopt;
  const std::uint32_t length = big_endian(rest.substr(0, 4));
  Frame frame;
  frame.stream = big_endian(rest.substr(4, 4));
  frame.type = static_cast<FrameType>(rest[8]);
  frame.flags = static_cast<std::uint8_t>(rest[9]);
  const std::string_view body = rest.substr(kHeaderSize);
  if (length > kMaxPayload) {
    frame.oversized = true;
    const std::size_t here = std::min<std::size_t>(length, body.size());
    start_ += kHeaderSize + here;
    to_skip_ = length - here;
    skipping_ = std::move(frame);
    return next();
  }
  if (body.size() < length) return std::nullopt;
  frame.payload = body.substr(0, length);
  start_ += kHeaderSize + length;
  return frame;
}

void append_frame(std::string& out, std::uint32_t stream, FrameType type,
                  std::string_view payload) {
  append_big_endian(out, static_cast<std::uint32_t>(payload.size()));
  append_big_endian(out, stream);
  out += static_cast<char>(type);
  out += '\0';
  out.append(payload);
}

}  // namespace shunt::ttrpc
