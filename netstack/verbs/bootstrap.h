// What two shims tell each other over the control connection to connect queue pairs: the fabric's
// part of HELLO, then three link messages. Bytes are specified in netstack/WIRE.md ("verbs").
//
//   dialling side                                    other side
//   queue pairs made              PROPOSE{Terms} ->  checks; queue pairs made, ready to receive and
//                                                    to send
//   ready to receive, to send  <- ACCEPT{Terms}
//   up                                  READY ->     up
//   either side, at any time            FAILED{errno}: the link is over
//
// rdma_cm is not needed for this on InfiniBand and RoCE, and this way works on any address the
// control connection has. iWARP devices can be connected by rdma_cm only; see Device.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "netstack/fabric/fabric.h"

namespace shunt::verbs {

constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kMaxGids = 8;
constexpr std::size_t kMaxLanes = 8;

/// In HELLO.
struct Hello {
  bool ethernet = false;        ///< RoCE v2; else InfiniBand
  std::uint8_t lanes = 1;       ///< queue pairs per link, at most
  std::uint32_t region = 0;     ///< bytes that the peer may come to write
  std::uint32_t slab = 0;       ///< registered at once; the smaller of both is used
  std::vector<IpAddress> gids;  ///< 1..kMaxGids
  bool operator==(const Hello&) const = default;
};

/// One queue pair of a side.
struct LaneTerms {
  std::uint32_t number = 0;  ///< 24 bits
  std::uint32_t packet = 0;  ///< first sequence number, 24 bits
  bool operator==(const LaneTerms&) const = default;
};

/// PROPOSE and ACCEPT: what a side has made.
struct Terms {
  IpAddress gid{};        ///< of the sender
  IpAddress peer_gid{};   ///< of the receiver, as the sender chose or confirms it
  std::uint16_t lid = 0;  ///< InfiniBand
  std::uint8_t mtu = 0;   ///< active, as enum ibv_mtu; the smaller of both is used
  std::uint32_t messages =
      0;                      ///< key of the sender's message rings, lane after lane from address 0
  std::uint32_t ring = 0;     ///< bytes of one message ring; power of two
  std::uint16_t credits = 0;  ///< immediates that a lane of the sender takes unconfirmed
  std::vector<LaneTerms> lanes;
  bool operator==(const Terms&) const = default;
};

struct Propose {
  Terms terms;
};
struct Accept {
  Terms terms;
};
struct Ready {};
struct Failed {
  int error = 0;  ///< an errno
};
using Message = std::variant<Propose, Accept, Ready, Failed>;

fabric::Bytes encode(const Hello& hello);
fabric::Bytes encode(const Message& message);
/// Empty: not to be understood. Bounds (numbers of lanes, sizes) have been checked; whether it fits
/// what we sent has not.
std::optional<Hello> decode_hello(fabric::View bytes);
std::optional<Message> decode_message(fabric::View bytes);

}  // namespace shunt::verbs
