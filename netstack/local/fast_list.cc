#include "netstack/local/fast_list.h"

#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>

#include <cstring>
#include <set>
#include <unordered_map>
#include <utility>

#include "netstack/local/tcp_diag.h"

namespace shunt::local {
namespace {

struct Raw {
  std::string name;
  std::uint32_t peer = 0;
  unix_diag_rqlen queues{};
};

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
    ends.push_back(std::move(entry));
  });
  if (!asked) return asked;
  for (FastEntry& entry : ends) {
    FastName& name = entry.name;
    entry.is_client = mailboxes.contains(name.server) ||
                      (!mailboxes.contains(name.client) && name.client.port > name.server.port);
    if (!entry.is_client) std::swap(name.client, name.server);
    name.service = name.server;
    result.push_back(std::move(entry));
  }
  return Done{};
}

}  // namespace

Result<std::vector<FastEntry>> list_fast_sockets() {
  auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) return socket.error();
  unix_diag_req query{};
  query.sdiag_family = AF_UNIX;
  query.udiag_states = 1U << TCP_ESTABLISHED;
  query.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN;
  NetlinkMessage message{SOCK_DIAG_BY_FAMILY, NLM_F_DUMP};
  message.body(query);

  std::unordered_map<std::uint32_t, Raw> sockets;  // by inode
  const Status asked = socket->request(message, [&](std::uint16_t, auto payload) {
    unix_diag_msg header{};
    if (payload.size() < sizeof header) return;
    std::memcpy(&header, payload.data(), sizeof header);
    Raw raw;
    for_each_attribute(payload.subspan(sizeof header), [&](std::uint16_t type, auto value) {
      const char* text = reinterpret_cast<const char*>(value.data());
      if (type == UNIX_DIAG_NAME && value.size() > 1 && text[0] == '\0')
        raw.name.assign(text + 1, value.size() - 1);
      if (type == UNIX_DIAG_PEER && value.size() == sizeof raw.peer)
        std::memcpy(&raw.peer, value.data(), sizeof raw.peer);
      if (type == UNIX_DIAG_RQLEN && value.size() == sizeof raw.queues)
        std::memcpy(&raw.queues, value.data(), sizeof raw.queues);
    });
    if (header.udiag_ino != 0) sockets.emplace(header.udiag_ino, std::move(raw));
  });
  if (!asked) return asked.error();

  std::vector<FastEntry> result;
  for (const auto& [inode, raw] : sockets) {
    FastEntry entry;
    entry.inode = inode;
    entry.unread = raw.queues.udiag_rqueue;
    entry.unsent = raw.queues.udiag_wqueue;
    if (auto name = decode(raw.name)) {
      entry.name = std::move(*name);
      entry.is_client = true;
      entry.netns = entry.name.client_netns;
    } else if (const auto mailbox = decode_mailbox(raw.name)) {
      const auto peer = sockets.find(raw.peer);
      if (peer == sockets.end()) continue;
      auto theirs = decode(peer->second.name);
      if (!theirs) continue;
      entry.name = std::move(*theirs);
      entry.netns = mailbox->netns;
    } else {
      continue;
    }
    result.push_back(std::move(entry));
  }
  if (const Status listed = list_tcp(*socket, result); !listed) return listed.error();
  return result;
}

}  // namespace shunt::local
