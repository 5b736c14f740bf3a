// The filter runs on each incoming packet of the socket, from its TCP header on; what lies before
// is reached relative to SKF_NET_OFF (filter.txt of the kernel). A connection's ordinary packets
// pass six or nine instructions of machine code.
//
// The kernel compiles such a filter for each socket anew (10 to 20 µs, most of it in giving the
// code its pages). Connections to one listener all need the same one: that is loaded once (bpf(2)),
// and then only referred to.
#include <linux/bpf.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>
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

/// A word (BPF_W) or half word of the packet, and what it is to be.
struct Field {
  int size = 0;
  std::uint32_t offset = 0;
  std::uint32_t value = 0;
};

std::vector<Field> fields_of(const Endpoint& peer) {
  constexpr auto kNetwork = static_cast<std::uint32_t>(SKF_NET_OFF);
  std::vector<Field> fields;
  fields.push_back({BPF_H, 0, peer.port});  // the sender's port comes first in a TCP header
  if (is_v4(peer.address)) {
    constexpr std::uint32_t kSource = 12;  // in an IPv4 header
    fields.push_back({BPF_W, kNetwork + kSource, word_at(peer.address, 12)});
  } else {
    constexpr std::uint32_t kSource = 8;  // in an IPv6 header
    for (std::uint32_t at = 0; at < 16; at += 4)
      fields.push_back({BPF_W, kNetwork + kSource + at, word_at(peer.address, at)});
  }
  return fields;
}

constexpr std::uint32_t kAll = 0xFFFFFFFF;  // of the packet is heard

/// The same program in the language of bpf(2), whose loads from the packet expect it in R6.
UniqueFd load(const std::vector<Field>& fields) {
  const auto instruction = [](int code, int to, int from, int jump, std::uint32_t value) {
    bpf_insn made{};
    made.code = static_cast<__u8>(code);
    made.dst_reg = static_cast<__u8>(to & 0xF);
    made.src_reg = static_cast<__u8>(from & 0xF);
    made.off = static_cast<__s16>(jump);
    made.imm = static_cast<__s32>(value);
    return made;
  };
  std::vector<bpf_insn> program;
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0));
  for (const Field& field : fields) {
    program.push_back(instruction(BPF_LD | BPF_ABS | field.size, 0, 0, 0, field.offset));
    program.push_back(instruction(BPF_JMP32 | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, field.value));
    program.push_back(instruction(BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0));
    program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  }
  program.push_back(instruction(BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, kAll));
  program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));

  constexpr std::string_view kLicense = "Apache-2.0";  // only some helpers, none here, want GPL
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insn_cnt = static_cast<__u32>(program.size());
  attributes.insns = reinterpret_cast<std::uintptr_t>(program.data());
  attributes.license = reinterpret_cast<std::uintptr_t>(kLicense.data());
  return UniqueFd{
      static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes))};
}

Status lock(int socket) {
  const int on = 1;
  if (::setsockopt(socket, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on) < 0)
    return last_error("SO_LOCK_FILTER");
  return Done{};
}

}  // namespace

Status pin(int socket, const Endpoint& peer) {
  std::vector<sock_filter> program;
  for (const Field& field : fields_of(peer)) {
    program.push_back(statement(BPF_LD | BPF_ABS | field.size, field.offset));
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, field.value, 1, 0));
    program.push_back(statement(BPF_RET | BPF_K, 0));
  }
  program.push_back(statement(BPF_RET | BPF_K, kAll));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) < 0)
    return last_error("SO_ATTACH_FILTER");
  return lock(socket);
}

Pin::Pin(const Endpoint& peer) : peer_{peer}, program_{load(fields_of(peer))} {}

Status Pin::apply(int socket) const {
  const int program = program_.get();
  if (!program_.valid() ||
      ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program) < 0)
    return pin(socket, peer_);
  return lock(socket);
}

}  // namespace shunt::host
