// What lies where in a window. Each side owns one: memory that its peer writes and it reads. So
// both only ever poll their own memory, and only ever write the other's: information is pushed to
// whoever needs it. Nothing but offsets and little-endian numbers is in it, and each 64-byte line
// has one writer, the peer of the owner.
//
//   line 0   Ready     what the peer is
//   line 1   tail      records published: a position in the message ring, counted from 0
//   line 2   head      records of ours that it has consumed
//   line 3   wake_at   ring the bell when our tail passes this position; room_at: when our head
//   does line 4   beat      counts up once a second; epoch 4096     the message ring then     the
//   region: where the peer writes bytes of streams
#pragma once

#include <cstddef>
#include <cstdint>

namespace shunt::window {

constexpr std::uint64_t kMagic = 0x31776f646e697773;  // "swindow1"
constexpr std::uint32_t kVersion = 1;

constexpr std::size_t kLine = 64;
constexpr std::size_t kReadyAt = 0 * kLine;  ///< kMagic
constexpr std::size_t kTailAt = 1 * kLine;
constexpr std::size_t kHeadAt = 2 * kLine;
constexpr std::size_t kWakeAt = 3 * kLine;
constexpr std::size_t kRoomWakeAt = 3 * kLine + 8;
constexpr std::size_t kBeatAt = 4 * kLine;
constexpr std::size_t kEpochAt = 4 * kLine + 8;
constexpr std::size_t kMessagesAt = 4096;
constexpr std::size_t kMessages = 64u << 10;  ///< a power of two
constexpr std::size_t kRegionAt = kMessagesAt + kMessages;

constexpr std::uint32_t kSlab = 2u << 20;
constexpr std::uint32_t kLeastRegion = kSlab;
constexpr std::uint32_t kMostRegion = 1u << 30;

constexpr std::size_t window_size(std::uint32_t region) { return kRegionAt + region; }

}  // namespace shunt::window
