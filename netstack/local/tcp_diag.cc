#include "netstack/local/tcp_diag.h"

#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#include <cstring>

namespace shunt::local {
namespace {

void put(const Endpoint& endpoint, __be32 (&address)[4], __be16& port) {
  if (is_v4(endpoint.address)) {
    std::memcpy(address, endpoint.address.data() + 12, 4);
  } else {
    std::memcpy(address, endpoint.address.data(), 16);
  }
  port = htons(endpoint.port);
}

inet_diag_req_v2 query_for(const Endpoint& local, const Endpoint& remote) {
  inet_diag_req_v2 query{};
  // IPv4 connections of AF_INET6 sockets are found under AF_INET, too.
  query.sdiag_family = static_cast<std::uint8_t>(is_v4(local.address) ? AF_INET : AF_INET6);
  query.sdiag_protocol = IPPROTO_TCP;
  query.idiag_states = ~0U;
  put(local, query.id.idiag_src, query.id.idiag_sport);
  put(remote, query.id.idiag_dst, query.id.idiag_dport);
  query.id.idiag_cookie[0] = query.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  return query;
}

}  // namespace

Result<TcpDiag> TcpDiag::open() {
  auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  if (!socket) return socket.error();
  return TcpDiag{std::move(*socket)};
}

Result<std::optional<TcpState>> TcpDiag::find(const Endpoint& local, const Endpoint& remote) {
  const inet_diag_req_v2 query = query_for(local, remote);
  NetlinkMessage message{SOCK_DIAG_BY_FAMILY, 0};
  message.body(query);

  std::optional<TcpState> found;
  const Status asked = socket_.request(message, [&](std::uint16_t, auto payload) {
    inet_diag_msg answer{};
    if (payload.size() < sizeof answer) return;
    std::memcpy(&answer, payload.data(), sizeof answer);
    // With no such connection the kernel falls back to a listener of that address.
    if (answer.id.idiag_dport != query.id.idiag_dport || answer.id.idiag_dport == 0) return;
    found =
        TcpState{answer.idiag_family, answer.idiag_state == TCP_ESTABLISHED, answer.idiag_inode};
  });
  if (!asked && asked.error().number != ENOENT) return asked.error();
  return found;
}

Status TcpDiag::reset(const Endpoint& local, const Endpoint& remote, std::uint64_t cookie) {
  inet_diag_req_v2 query = query_for(local, remote);
  query.id.idiag_cookie[0] = static_cast<std::uint32_t>(cookie);
  query.id.idiag_cookie[1] = static_cast<std::uint32_t>(cookie >> 32U);
  NetlinkMessage message{SOCK_DESTROY, NLM_F_ACK};
  message.body(query);
  return socket_.request(message, [](std::uint16_t, auto) {});
}

Status dump_tcp(NetlinkSocket& socket, std::uint32_t states,
                const std::function<void(const inet_diag_msg&)>& each) {
  for (const int family : {AF_INET, AF_INET6}) {
    inet_diag_req_v2 query{};
    query.sdiag_family = static_cast<std::uint8_t>(family);
    query.sdiag_protocol = IPPROTO_TCP;
    query.idiag_states = states;
    NetlinkMessage message{SOCK_DIAG_BY_FAMILY, NLM_F_DUMP};
    message.body(query);
    const Status asked = socket.request(message, [&](std::uint16_t, auto payload) {
      inet_diag_msg answer{};
      if (payload.size() < sizeof answer) return;
      std::memcpy(&answer, payload.data(), sizeof answer);
      each(answer);
    });
    if (!asked) return asked;
  }
  return Done{};
}

Result<std::uint32_t> TcpDiag::waiting_at(std::uint16_t port) {
  std::uint32_t waiting = 0;
  const Status asked = dump_tcp(socket_, 1U << TCP_LISTEN, [&](const inet_diag_msg& answer) {
    if (ntohs(answer.id.idiag_sport) == port) waiting += answer.idiag_rqueue;
  });
  if (!asked) return asked.error();
  return waiting;
}

Result<std::unordered_map<std::uint32_t, TcpDiag::Queues>> TcpDiag::queues() {
  constexpr std::uint32_t kConnected = 1U << TCP_ESTABLISHED | 1U << TCP_CLOSE_WAIT |
                                       1U << TCP_FIN_WAIT1 | 1U << TCP_FIN_WAIT2 |
                                       1U << TCP_LAST_ACK | 1U << TCP_CLOSING;
  std::unordered_map<std::uint32_t, Queues> result;
  const Status asked = dump_tcp(socket_, kConnected, [&](const inet_diag_msg& answer) {
    if (answer.idiag_inode != 0)
      result[answer.idiag_inode] = {answer.idiag_rqueue, answer.idiag_wqueue};
  });
  if (!asked) return asked.error();
  return result;
}

}  // namespace shunt::local
