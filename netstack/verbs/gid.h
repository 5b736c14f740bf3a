// Which address of a device a queue pair uses. A GID is 16 bytes; on Ethernet (RoCE v2) it is an IP
// address of the device's network interface, IPv4 mapped, and its place in the device's table
// changes as addresses come and go, so that an index from a file is right only by luck.
//
// The order of choice, once the peer has told its own addresses:
//   1. the index from the configuration
//   2. the address that the kernel would send from to one of the peer's (route look-up), if the
//      device has it
//   3. the first address of the device and of the peer that are of one family
#pragma once

#include <infiniband/verbs.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "netstack/base/endpoint.h"

namespace shunt::verbs {

struct Gid {
  IpAddress address{};  ///< all of a GID's bytes; an IP address on Ethernet
  std::uint8_t index = 0;
  bool operator==(const Gid&) const = default;
};

/// The usable ones of a port's table, best first: on Ethernet RoCE v2 only, addresses that are
/// routable before link-local ones (those are left out if there are others); on InfiniBand all.
std::vector<Gid> usable(const std::vector<ibv_gid_entry>& table, std::uint8_t port, bool ethernet);

/// The address the kernel would send from to `to`; empty without a route. Looked up in the network
/// namespace of the calling thread, without sending anything.
std::optional<IpAddress> route_source(const IpAddress& to);

struct GidPair {
  Gid ours;
  IpAddress theirs{};
};
using Route = std::function<std::optional<IpAddress>(const IpAddress& to)>;

/// See the order above. `index` < 0: not configured. Empty: no pair of addresses fits.
std::optional<GidPair> choose(const std::vector<Gid>& ours, const std::vector<IpAddress>& theirs,
                              int index, const Route& route);

}  // namespace shunt::verbs
