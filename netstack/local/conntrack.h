// Who a translated connection really goes to (ctnetlink).
//
// kube-proxy rewrites the service address on the node; the reply direction of the connection's
// conntrack entry names the pod that was chosen.
#pragma once

#include <optional>

#include "netstack/base/endpoint.h"
#include "netstack/base/netlink.h"

namespace shunt::local {

class Conntrack {
 public:
  /// Asks the namespace of the calling thread: the node's, where services are translated.
  static Result<Conntrack> open();

  struct Reply {
    Endpoint from;  ///< the real server
    Endpoint to;    ///< what the server takes for the client
  };
  /// The reply direction of the TCP connection `client` -> `service`; nothing if it is not tracked.
  Result<std::optional<Reply>> find(const Endpoint& client, const Endpoint& service);

 private:
  explicit Conntrack(NetlinkSocket socket) : socket_{std::move(socket)} {}
  NetlinkSocket socket_;
};

/// The attributes of a conntrack message; empty if they are incomplete. Split off for tests.
std::optional<Conntrack::Reply> decode_conntrack_reply(std::span<const std::byte> attributes);

}  // namespace shunt::local
