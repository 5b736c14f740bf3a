// What the kernel knows about one TCP connection, asked from outside (inet_diag).
//
// This is how a client makes sure, before it leaves a connection for the fast path, that the other
// end really is where it believes it to be: a redirect, a proxy or a translation in between would
// show as "no such connection" in the server's namespace.
#pragma once

#include <linux/inet_diag.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>

#include "netstack/base/endpoint.h"
#include "netstack/base/netlink.h"

namespace shunt::local {

struct TcpState {
  int family = AF_INET;  ///< of the socket: AF_INET6 may hold mapped addresses
  bool established = false;
  std::uint32_t inode = 0;  ///< 0: still in the accept queue, or no process holds it
};

/// Every TCP socket of the socket's network namespace in one of these states (bits, 1 << TCP_...),
/// IPv4 first; what they say is in inet_diag_msg, the family in idiag_family.
Status dump_tcp(NetlinkSocket& socket, std::uint32_t states,
                const std::function<void(const inet_diag_msg&)>& each);

class TcpDiag {
 public:
  /// Asks about the namespace of the calling thread. Any thread may use it afterwards.
  static Result<TcpDiag> open();

  /// The socket in that namespace with these addresses, or nothing. About 2 µs.
  Result<std::optional<TcpState>> find(const Endpoint& local, const Endpoint& remote);

  /// Resets it, as if its program had: the other side is told at once, and whoever has the socket
  /// finds ECONNABORTED. EOPNOTSUPP if the kernel is built without (CONFIG_INET_DIAG_DESTROY).
  Status reset(const Endpoint& local, const Endpoint& remote, std::uint64_t cookie);

  /// Connections waiting to be accepted, over all listeners of a port.
  Result<std::uint32_t> waiting_at(std::uint16_t port);

  struct Queues {
    std::uint32_t unread = 0;  ///< bytes that arrived and were not read
    std::uint32_t unsent = 0;  ///< bytes written that the other side has not acknowledged
  };
  /// Of all connections that a process holds, by inode. The kernel looks at every one: for people.
  Result<std::unordered_map<std::uint32_t, Queues>> queues();

 private:
  explicit TcpDiag(NetlinkSocket socket) : socket_{std::move(socket)} {}
  NetlinkSocket socket_;
};

}  // namespace shunt::local
