// What keeps a container that holds a TCP socket of the node's network from going elsewhere with
// it.
//
// The container owns such a socket as it would own one of its own. Its 64-bit connect(2) is
// supervised, but a 32-bit one is not: it could disconnect the socket and connect it to whatever
// the node reaches, past every NetworkPolicy. Three things stand in its way:
//
//   the owner     files of such sockets are made under a reserved user id (FileOwner). The id in
//                 f_cred never changes afterwards, and `meta skuid` of nftables reads it.
//   the table     one nftables table in the node's namespace (Guard): a socket of that owner may
//                 open connections to the ports of shims only, and may answer none.
//   the pin       a locked socket filter (pin): the socket hears nobody but the peer that it was
//                 made for. Nobody can take the filter off again (SO_LOCK_FILTER), and neither
//                 disconnecting nor listening does.
//
// What remains: it can send first packets (SYN) to those ports of any host, and hears no answer.
// Containers with CAP_NET_ADMIN in the node's user namespace must get no such socket at all: they
// could reconfigure the node by its ioctls.
//
// All of this is for the thread that runs the fabric.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/base/netlink.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::host {

/// Above the ranges that container tools cut user namespaces from.
inline constexpr uid_t kGuardedUser = 0xFFFF7472;

/// Files that the calling thread makes during its life belong to the reserved user. Only the user
/// id for files is changed (setfsuid(2)), and for this thread alone.
class FileOwner {
 public:
  FileOwner();
  ~FileOwner();
  FileOwner(const FileOwner&) = delete;
  FileOwner& operator=(const FileOwner&) = delete;
};

/// Ports that shims of a node listen on.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t count = 0;
  std::uint16_t last() const { return static_cast<std::uint16_t>(first + count - 1); }
};

/// Lets a TCP socket hear `peer` only, for good. Before connect(2), or right after accept(2).
Status pin(int socket, const Endpoint& peer);

/// The same for many sockets of one peer, which costs each of them little. Where the kernel lets
/// nobody have bpf(2), each gets a filter of its own.
class Pin {
 public:
  explicit Pin(const Endpoint& peer);
  Status apply(int socket) const;
  const Endpoint& peer() const { return peer_; }

 private:
  Endpoint peer_;
  UniqueFd program_;
};

class Guard {
 public:
  /// Makes sure that the table is there, for the namespace of the calling thread, by running nft
  /// once if needed (some 10 ms). A sentence if it cannot be had.
  static Result<std::unique_ptr<Guard>, std::string> install(PortRange ports);

  /// Whether the kernel still has all of it: some 20 µs. Any thread, one at a time.
  bool intact();
  /// Installs it again, in the namespace of the calling thread.
  Result<Done, std::string> restore();

 private:
  Guard(PortRange ports, NetlinkSocket netlink) : ports_{ports}, netlink_{std::move(netlink)} {}
  /// What the kernel has of the table, without handles and counters; empty if it is not whole.
  std::vector<std::byte> read();

  PortRange ports_;
  NetlinkSocket netlink_;
  std::vector<std::byte> installed_;
};

/// The table as nft reads it: an old one is replaced in one step.
std::string guard_script(PortRange ports);

}  // namespace shunt::host
