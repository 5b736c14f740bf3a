#include "sandbox/syscall_table.h"

#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH 74
#endif
#ifndef __NR_landlock_restrict_self
#define __NR_landlock_restrict_self 446
#endif

namespace shunt::sandbox {
namespace {

constexpr std::string_view kOptionLevels =
    "level TCP, IP or IPV6, and the SOL_SOCKET names that AF_UNIX answers otherwise";

constexpr std::array kTable{
    Row{__NR_connect, "connect", on_connect, "",
        "performed on the program's own socket; then perhaps upgraded"},
    Row{__NR_listen, "listen", on_listen, "", "performed; a TCP listener is published"},
    Row{__NR_accept, "accept", on_accept, "",
        "performed; hands out the fast end or the TCP socket"},
    Row{__NR_accept4, "accept4", on_accept4, "", "as accept"},
    Row{__NR_getsockname, "getsockname", on_getsockname, "",
        "fast sockets: the TCP address they stand for"},
    Row{__NR_getpeername, "getpeername", on_getpeername, "",
        "fast sockets: the TCP address they stand for"},
    Row{__NR_getsockopt, "getsockopt", on_getsockopt, kOptionLevels,
        "fast sockets: as a TCP socket with the same options"},
    Row{__NR_setsockopt, "setsockopt", on_setsockopt, kOptionLevels,
        "fast sockets: checked and kept as a TCP socket would"},
    Row{__NR_ioctl, "ioctl", on_ioctl,
        "SIOCOUTQ, SIOCOUTQNSD, SIOCGIFADDR and its like, SIOCGSTAMP",
        "fast sockets: as a TCP socket whose bytes have all arrived"},
    Row{__NR_landlock_restrict_self, "landlock_restrict_self", on_landlock_restrict_self, "",
        "runs; the container's connects are left to the kernel from then on"},
    Row{__NR_io_uring_setup, "io_uring_setup", nullptr, "unless upgrade.io_uring is `allow`",
        "ENOSYS: io_uring makes socket calls that no filter sees"},
};
static_assert(kTable.size() <= Statistics::kCalls);

// SOL_SOCKET names that differ between the families, see the README's table of differences. 23,
// which no kernel answers, makes one rule of four names.
constexpr int kUnused = 23;
constexpr std::array kSocketNames{kUnused,      SO_DOMAIN,     SO_PROTOCOL, SO_PEERCRED,
                                  SO_PEERSEC,   SO_PEERGROUPS, SO_PASSCRED, SO_PASSSEC,
                                  SO_REUSEPORT, SO_ZEROCOPY,   SO_SNDBUF,   SO_RCVBUF};
// These differ too: SO_TXREHASH, SO_PASSPIDFD, SO_PEERPIDFD, SO_PASSRIGHTS. With the names between
// them, which are asked for rarely, they and those of later kernels are one rule.
constexpr int kAllFrom = SO_TXREHASH;
constexpr int kAllTo = SO_PASSRIGHTS;

constexpr std::array<std::uint32_t, 8> kRequests{SIOCOUTQ,       SIOCOUTQNSD,     SIOCGIFADDR,
                                                 SIOCGIFBRDADDR, SIOCGIFNETMASK,  SIOCGIFDSTADDR,
                                                 SIOCGSTAMP_OLD, SIOCGSTAMPNS_OLD};

Trap option_trap(std::string_view name) {
  Trap trap{.name = name, .when = {}, .catch_disguised = true};
  // TCP has no options of levels 2 and 4; with them the even numbers up to 6 are one rule.
  for (const int level : {IPPROTO_IP, IPPROTO_IGMP, IPPROTO_IPIP, IPPROTO_TCP, IPPROTO_IPV6})
    trap.when.push_back({{1, static_cast<std::uint32_t>(level)}});
  for (const int option : kSocketNames)
    trap.when.push_back({{1, SOL_SOCKET}, {2, static_cast<std::uint32_t>(option)}});
  for (int option = kAllFrom; option <= kAllTo; ++option)
    trap.when.push_back({{1, SOL_SOCKET}, {2, static_cast<std::uint32_t>(option)}});
  return trap;
}

}  // namespace

std::span<const Row> syscall_table() { return kTable; }

std::optional<std::size_t> find_row(int number) {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (kTable[i].number == number) return i;
  return std::nullopt;
}

std::vector<Trap> traps(const config::Upgrade& options) {
  std::vector<Trap> result;
  if (!options.enabled) return result;
  for (const Row& row : kTable) {
    if (row.number == __NR_getsockopt || row.number == __NR_setsockopt) {
      result.push_back(option_trap(row.name));
    } else if (row.number == __NR_ioctl) {
      Trap trap{.name = row.name, .when = {}};
      for (const std::uint32_t request : kRequests) trap.when.push_back({{1, request}});
      result.push_back(std::move(trap));
    } else if (row.handler != nullptr) {
      result.push_back({.name = row.name, .when = {}});
    } else if (options.io_uring == config::IoUring::kDeny) {
      result.push_back({.name = row.name, .action = TrapAction::kNoSys, .when = {}});
    }
  }
  return result;
}

std::string support_table() {
  std::string text = "| call | when | effect |\n|---|---|---|\n";
  for (const Row& row : kTable) {
    text += "| `";
    text += row.name;
    text += "` | ";
    text += row.condition.empty() ? std::string_view{"always"} : row.condition;
    text += " | ";
    text += row.effect;
    text += " |\n";
  }
  return text;
}

}  // namespace shunt::sandbox
