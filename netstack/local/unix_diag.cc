#include "netstack/local/unix_diag.h"

#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

namespace shunt::local {
namespace {

constexpr std::uint8_t kReceive = 1;  // RCV_SHUTDOWN

template <typename T>
bool copy(std::span<const std::byte> value, T& into) {
  if (value.size() < sizeof into) return false;
  std::memcpy(&into, value.data(), sizeof into);
  return true;
}

}  // namespace

Status dump_unix(NetlinkSocket& socket, const std::function<void(const UnixSocket&)>& each) {
  unix_diag_req query{};
  query.sdiag_family = AF_UNIX;
  query.udiag_states = 1U << TCP_ESTABLISHED;
  query.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO;
  NetlinkMessage message{SOCK_DIAG_BY_FAMILY, NLM_F_DUMP};
  message.body(query);
  return socket.request(message, [&](std::uint16_t, auto payload) {
    unix_diag_msg header{};
    if (!copy(payload, header) || header.udiag_ino == 0) return;
    UnixSocket found;
    found.inode = header.udiag_ino;
    for_each_attribute(payload.subspan(sizeof header), [&](std::uint16_t type, auto value) {
      const char* text = reinterpret_cast<const char*>(value.data());
      unix_diag_rqlen queues{};
      std::uint8_t shutdown = 0;
      std::array<std::uint32_t, SK_MEMINFO_SNDBUF + 1> memory{};  // newer kernels tell more
      if (type == UNIX_DIAG_NAME && value.size() > 1 && text[0] == '\0')
        found.name = {text + 1, value.size() - 1};
      if (type == UNIX_DIAG_PEER) copy(value, found.peer);
      if (type == UNIX_DIAG_SHUTDOWN && copy(value, shutdown))
        found.finished = (shutdown & kReceive) != 0;
      if (type == UNIX_DIAG_RQLEN && copy(value, queues)) {
        found.unread = queues.udiag_rqueue;
        found.unsent = queues.udiag_wqueue;
      }
      if (type == UNIX_DIAG_MEMINFO && copy(value, memory)) {
        found.in_use = memory[SK_MEMINFO_WMEM_ALLOC];
        found.allowed = memory[SK_MEMINFO_SNDBUF];
      }
    });
    each(found);
  });
}

}  // namespace shunt::local
