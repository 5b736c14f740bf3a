// The name bound to the client's end of a fast socket: which TCP connection it stands for.
//
// The kernel keeps it as long as the socket lives, so nobody else has to. It is an abstract AF_UNIX
// name in the private network namespace, where only supervisors can bind one, and it can be read
// with `ss -x`:
//
//   shunt:4026532201:44:198.18.0.2:40000>198.18.0.3:80
//         |          ||  |               |
//         |          ||  |               the listener, as the server sees it
//         |          ||  the client, as both see it
//         |          |family of the server's socket: 4, or 6 (reports IPv4 mapped)
//         |          family of the client's socket
//         network namespace (inode) of the client
//
// A client that connected to a service address has it appended: `...=198.18.9.9:80`.
// The kernel takes the port of a client whose connection is fast for free, and may give it to the
// next one that connects to the same server. Such a connection has a number appended: `...~1`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "netstack/base/endpoint.h"

namespace shunt::local {

struct FastName {
  std::uint64_t client_netns = 0;  ///< inode
  int client_family = AF_INET;
  int server_family = AF_INET;
  Endpoint client;
  Endpoint server;    ///< the real listener
  Endpoint service;   ///< what the client connected to: `server`, or an address translated to it
  unsigned twin = 0;  ///< tells living connections with the same addresses apart

  bool operator==(const FastName&) const = default;
};

/// Empty if it does not fit into an AF_UNIX name (long IPv6 addresses with a service address).
std::optional<std::string> encode(const FastName& name);
std::optional<FastName> decode(std::string_view text);
/// Its first field alone; the rest is not looked at. For those who sort many names by it.
std::optional<std::uint64_t> client_netns_of(std::string_view text);

/// Mailbox of one listener: `shunt!4026532202:80`. See mailbox.h.
std::string mailbox_name(std::uint64_t server_netns, std::uint16_t port, int family);
struct MailboxName {
  std::uint64_t netns = 0;
  std::uint16_t port = 0;
  int family = AF_INET;
};
std::optional<MailboxName> decode_mailbox(std::string_view text);

/// Of the ends that a pod's fabrics pump from and into for its outgoing streams.
std::string engine_name(std::uint64_t netns);
bool is_engine_name(std::string_view text);

/// Abstract AF_UNIX address of a name.
SockAddress abstract_address(std::string_view name);
/// The other way round; empty for path names, unnamed sockets and other families.
std::string_view abstract_name(const SockAddress& address);

}  // namespace shunt::local
