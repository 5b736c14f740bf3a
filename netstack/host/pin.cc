// The filter runs on each incoming packet of the socket, from its TCP header on; what lies before
// is reached relative to SKF_NET_OFF (filter.txt of the kernel). A connection's ordinary packets
// pass six or nine instructions of machine code.
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <vector>

#include "netstack/host/guard.h"

namespace shunt::host {
namespace {

std::uint32_t word_at(const IpAddress& address, std::size_t at) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < sizeof word; ++i) word = word << 8U | address[at + i];
  return word;
}

sock_filter statement(int code, std::uint32_t k) {
  return BPF_STMT(static_cast<std::uint16_t>(code), k);
}

/// Goes on if the value loaded is `k`; otherwise over to the drop at the end.
void require(std::vector<sock_filter>& program, int load, std::uint32_t offset, std::uint32_t k) {
  program.push_back(statement(BPF_LD | load | BPF_ABS, offset));
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 1, 0));
  program.push_back(statement(BPF_RET | BPF_K, 0));
}

}  // namespace

Status pin(int socket, const Endpoint& peer) {
  constexpr auto kNetwork = static_cast<std::uint32_t>(SKF_NET_OFF);
  std::vector<sock_filter> program;
  require(program, BPF_H, 0, peer.port);  // the sender's port comes first in a TCP header
  if (is_v4(peer.address)) {
    constexpr std::uint32_t kSource = 12;  // in an IPv4 header
    require(program, BPF_W, kNetwork + kSource, word_at(peer.address, 12));
  } else {
    constexpr std::uint32_t kSource = 8;  // in an IPv6 header
    for (std::uint32_t at = 0; at < 16; at += 4)
      require(program, BPF_W, kNetwork + kSource + at, word_at(peer.address, at));
  }
  program.push_back(statement(BPF_RET | BPF_K, 0xFFFFFFFF));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
    return last_error("SO_ATTACH_FILTER");
  const int on = 1;
  if (::setsockopt(socket, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on) < 0)
    return last_error("SO_LOCK_FILTER");
  return Done{};
}

}  // namespace shunt::host
