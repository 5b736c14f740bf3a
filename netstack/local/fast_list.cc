#include "netstack/local/fast_list.h"

#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>

#include <cstring>
#include <unordered_map>

namespace shunt::local {
namespace {

struct Raw {
  std::string name;
  std::uint32_t peer = 0;
  unix_diag_rqlen queues{};
};

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
  return result;
}

}  // namespace shunt::local
