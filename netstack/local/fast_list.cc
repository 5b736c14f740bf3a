#include "netstack/local/fast_list.h"

#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "netstack/base/netlink.h"
#include "netstack/local/tcp_diag.h"
#include "netstack/local/unix_diag.h"

namespace shunt::local {
namespace {

// What the kernel tells of the sockets in the private namespace, which may be very many: both ends
// of every fast connection of the node. So few and large blocks of memory, which go back whole.
struct Raw {
  std::uint32_t inode = 0;
  std::uint32_t peer = 0;  // inode
  std::uint32_t unread = 0;
  std::uint32_t unsent = 0;
  std::uint32_t name = 0;  // where it starts in Dump::names
  std::uint32_t length = 0;
};

struct Dump {
  std::vector<Raw> sockets;  // by inode
  std::string names;

  std::string_view name(const Raw& raw) const {
    return std::string_view{names}.substr(raw.name, raw.length);
  }
  const Raw* find(std::uint32_t inode) const {
    const auto at = std::lower_bound(sockets.begin(), sockets.end(), inode,
                                     [](const Raw& raw, std::uint32_t i) { return raw.inode < i; });
    return at == sockets.end() || at->inode != inode ? nullptr : &*at;
  }
};

Result<Dump> keep_all(NetlinkSocket& socket) {
  Dump dump;
  const Status asked = dump_unix(socket, [&](const UnixSocket& found) {
    dump.sockets.push_back({found.inode, found.peer, found.unread, found.unsent,
                            static_cast<std::uint32_t>(dump.names.size()),
                            static_cast<std::uint32_t>(found.name.size())});
    dump.names.append(found.name);
  });
  if (!asked) return asked.error();
  std::sort(dump.sockets.begin(), dump.sockets.end(),
            [](const Raw& left, const Raw& right) { return left.inode < right.inode; });
  return dump;
}

/// The client's end by its own name, the server's by that of its peer.
std::optional<FastEntry> entry_of(const Dump& dump, const Raw& raw,
                                  std::optional<std::uint64_t> wanted) {
  FastEntry entry;
  entry.inode = raw.inode;
  entry.unread = raw.unread;
  entry.unsent = raw.unsent;
  const Raw* client = &raw;
  if (const auto netns = client_netns_of(dump.name(raw))) {
    entry.is_client = true;
    entry.netns = *netns;
  } else if (const auto mailbox = decode_mailbox(dump.name(raw))) {
    client = dump.find(raw.peer);
    entry.netns = mailbox->netns;
  } else {
    return std::nullopt;
  }
  if (client == nullptr || (wanted && entry.netns != *wanted)) return std::nullopt;
  auto name = decode(dump.name(*client));
  if (!name) return std::nullopt;
  entry.name = *name;
  return entry;
}

Endpoint endpoint_of(int family, const __be32 (&address)[4], __be16 port) {
  Endpoint result;
  if (family == AF_INET) {
    result.address[10] = result.address[11] = 0xff;
    std::memcpy(result.address.data() + 12, address, 4);
  } else {
    std::memcpy(result.address.data(), address, sizeof address);
  }
  result.port = ntohs(port);
  return result;
}

/// In the private namespace a listener is a mailbox, so an end whose own address is that of one is
/// the server's. Where the mailbox is gone already, the greater port is taken for the client's.
Status list_tcp(NetlinkSocket& socket, std::vector<FastEntry>& result) {
  std::set<Endpoint> mailboxes;
  std::vector<FastEntry> ends;  // as if each were the client's
  constexpr std::uint32_t kStates = 1U << TCP_LISTEN | 1U << TCP_ESTABLISHED |
                                    1U << TCP_CLOSE_WAIT | 1U << TCP_FIN_WAIT1 |
                                    1U << TCP_FIN_WAIT2;
  const Status asked = dump_tcp(socket, kStates, [&](const inet_diag_msg& answer) {
    const int family = answer.idiag_family;
    const Endpoint own = endpoint_of(family, answer.id.idiag_src, answer.id.idiag_sport);
    if (answer.idiag_state == TCP_LISTEN) mailboxes.insert(own);
    if (answer.idiag_state == TCP_LISTEN || answer.idiag_inode == 0) return;
    FastEntry entry;
    entry.name.client_family = entry.name.server_family = family;
    entry.name.client = own;
    entry.name.server = endpoint_of(family, answer.id.idiag_dst, answer.id.idiag_dport);
    entry.inode = answer.idiag_inode;
    entry.unread = answer.idiag_rqueue;
    entry.unsent = answer.idiag_wqueue;
    ends.push_back(entry);
  });
  if (!asked) return asked;
  std::sort(ends.begin(), ends.end(),
            [](const FastEntry& left, const FastEntry& right) { return left.inode < right.inode; });
  for (FastEntry& entry : ends) {
    FastName& name = entry.name;
    entry.is_client = mailboxes.contains(name.server) ||
                      (!mailboxes.contains(name.client) && name.client.port > name.server.port);
    if (!entry.is_client) std::swap(name.client, name.server);
    name.service = name.server;
    result.push_back(entry);
  }
  return Done{};
}

}  // namespace

Result<std::vector<FastEntry>> list_fast_sockets(std::optional<std::uint64_t> netns) {
  auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) return socket.error();
  const auto dump = keep_all(*socket);
  if (!dump) return dump.error();
  std::vector<FastEntry> result;
  for (const Raw& raw : dump->sockets)
    if (auto entry = entry_of(*dump, raw, netns)) result.push_back(*entry);
  if (const Status listed = list_tcp(*socket, result); !listed) return listed.error();
  return result;
}

}  // namespace shunt::local
