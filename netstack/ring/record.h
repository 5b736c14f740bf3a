// The records of the ring protocol (WIRE.md, chapter "ring"): what two links tell each other about
// their streams. Encoding and decoding are pure; decoding trusts nothing.
//
//   op u8 | flags u8 (0) | length u16 | stream u32 | payload of `length` bytes | zeros up to 8
//
// All numbers are little-endian. A cursor is a position in the stream's bytes of one direction,
// counted from 0; 64 bits never wrap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "netstack/base/result.h"

namespace shunt::ring {

enum class Op : std::uint8_t {
  kInline = 1,   ///< the next bytes of the stream themselves
  kData = 2,     ///< cursor: bytes up to here are in the current ring
  kCredit = 3,   ///< cursor: bytes up to here have been consumed
  kWant = 4,     ///< there are bytes for a ring, or for a larger one
  kGrant = 5,    ///< offset, size, key: a ring for your bytes
  kMoved = 6,    ///< from here on, bytes are in the ring granted last
  kRelease = 7,  ///< no ring is used from here on; the current one is yours again
  kReclaim = 8,  ///< give the ring back as soon as it is empty
  kFinish = 9,   ///< no more bytes in this direction
  kReset = 10,   ///< errno: the stream is over, both directions
  kUrgent = 11,  ///< the next byte of the stream, which was sent as urgent (MSG_OOB)
};

constexpr std::size_t kHeaderSize = 8;
constexpr std::size_t kMostInline = 2048;  ///< payload of one kInline
/// The largest record.
constexpr std::size_t kMostRecord = kHeaderSize + kMostInline;

struct Record {
  Op op{};
  std::uint32_t stream = 0;
  std::uint64_t cursor = 0;                     ///< kData, kCredit
  std::uint32_t offset = 0, size = 0, key = 0;  ///< kGrant
  std::uint32_t error = 0;                      ///< kReset
  std::span<const std::byte> bytes;             ///< kInline, kUrgent: into what was decoded
};

/// How many bytes the record takes.
std::size_t encoded_size(const Record& record);
/// Appends it. `bytes` is at most kMostInline.
void encode(const Record& record, std::vector<std::byte>& out);

/// Takes the first record off `rest`, which is not empty. EPROTO: not a record; what follows cannot
/// be told apart either.
Result<Record> decode(std::span<const std::byte>& rest);

}  // namespace shunt::ring
