// nft makes the table, since its language is what people read; whether it is there is asked of the
// kernel itself (nf_tables.h), which takes no process.

#include "netstack/host/guard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

extern char** environ;

namespace shunt::host {
namespace {

constexpr std::string_view kTable = "shunt";
constexpr int kLongest_ms = 5000;  // for one run of nft
constexpr int kRules = 4;

/// Marks each rule, so that a table of another range or version is seen to be one.
std::string mark(PortRange ports) {
  return fmt::format("shunt guard 1 {}-{}", ports.first, ports.last());
}

void set_user(uid_t user) {
  // glibc's setfsuid(2) is the same call; the raw one says that it is this thread's alone.
  ::syscall(SYS_setfsuid, user);
}

/// Runs `nft -f -` and returns its first line of complaint; empty if it had none.
std::string run_nft(const std::string& script) {
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  if (::pipe2(in.data(), O_CLOEXEC) < 0 || ::pipe2(out.data(), O_CLOEXEC) < 0)
    return describe(last_error("pipe"));
  UniqueFd script_in{in[0]};
  UniqueFd script_out{in[1]};
  UniqueFd said_in{out[0]};
  UniqueFd said_out{out[1]};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, script_in.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, said_out.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, said_out.get(), STDERR_FILENO);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::array<std::string, 3> words{"nft", "-f", "-"};
  std::array<char*, 4> arguments{words[0].data(), words[1].data(), words[2].data(), nullptr};
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, "nft", &actions, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return "cannot run nft: " + describe(Error{error, "posix_spawn"});

  const UniqueFd process{static_cast<int>(::syscall(SYS_pidfd_open, child, 0))};
  script_in.reset();
  said_out.reset();
  // It fits into the pipe.
  [[maybe_unused]] const auto written = ::write(script_out.get(), script.data(), script.size());
  script_out.reset();
  // Until it closes its output, which it does by ending.
  std::string said;
  std::array<char, 512> part{};
  pollfd entry{said_in.get(), POLLIN, 0};
  while (::poll(&entry, 1, kLongest_ms) == 1) {
    const ssize_t got = ::read(said_in.get(), part.data(), part.size());
    if (got <= 0) break;
    if (said.size() < 4096) said.append(part.data(), static_cast<std::size_t>(got));
  }
  pollfd ended{process.get(), POLLIN, 0};
  if (process.valid() && ::poll(&ended, 1, kLongest_ms) != 1) ::kill(child, SIGKILL);
  siginfo_t info{};
  // Whoever collects all children of the process may have been first.
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED);
  return said.substr(0, said.find('\n'));
}

bool contains(std::span<const std::byte> bytes, std::string_view text) {
  return std::search(bytes.begin(), bytes.end(), text.begin(), text.end(),
                     [](std::byte byte, char c) { return byte == static_cast<std::byte>(c); }) !=
         bytes.end();
}

}  // namespace

FileOwner::FileOwner() { set_user(kGuardedUser); }
FileOwner::~FileOwner() { set_user(0); }

std::string guard_script(PortRange ports) {
  // Adding first makes the deletion succeed whether the table is there or not. A first packet has
  // SYN; an answer to one has SYN and ACK, and would only be sent by a socket that listens.
  return fmt::format(
      "add table inet {0}\n"
      "delete table inet {0}\n"
      "table inet {0} {{\n"
      "  chain guarded {{\n"
      "    meta l4proto != tcp drop comment \"{1}\"\n"
      "    tcp flags & (syn | ack) == syn tcp dport {2}-{3} accept comment \"{1}\"\n"
      "    tcp flags & syn == syn drop comment \"{1}\"\n"
      "  }}\n"
      "  chain output {{\n"
      "    type filter hook output priority -150; policy accept;\n"
      "    meta skuid {4} goto guarded comment \"{1}\"\n"
      "  }}\n"
      "}}\n",
      kTable, mark(ports), ports.first, ports.last(), kGuardedUser);
}

std::vector<std::byte> Guard::read() {
  const std::string wanted = mark(ports_);
  std::vector<std::byte> found;
  bool dormant = true;
  bool hooked = false;
  int rules = 0;
  const auto keep = [&](std::span<const std::byte> bytes) {
    found.insert(found.end(), bytes.begin(), bytes.end());
  };
  const auto name = std::as_bytes(std::span{kTable.data(), kTable.size() + 1});  // with its 0
  const auto ask = [&](int type, std::uint16_t flags, std::uint16_t table_attribute, auto each) {
    NetlinkMessage message{static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8U | type), flags};
    nfgenmsg header{};
    header.nfgen_family = NFPROTO_INET;
    header.version = NFNETLINK_V0;
    message.body(header).attribute(table_attribute, name);
    return static_cast<bool>(netlink_.request(message, [&](std::uint16_t, auto payload) {
      if (payload.size() >= sizeof header) each(payload.subspan(sizeof header));
    }));
  };

  const bool table = ask(NFT_MSG_GETTABLE, 0, NFTA_TABLE_NAME, [&](auto attributes) {
    for_each_attribute(attributes, [&](std::uint16_t type, auto value) {
      std::uint32_t flags = 0;
      if (type != NFTA_TABLE_FLAGS || value.size() != sizeof flags) return;
      std::memcpy(&flags, value.data(), sizeof flags);
      dormant = (::ntohl(flags) & NFT_TABLE_F_DORMANT) != 0;
    });
  });
  if (!table || dormant) return {};
  const bool chains = ask(NFT_MSG_GETCHAIN, NLM_F_DUMP, NFTA_CHAIN_TABLE, [&](auto attributes) {
    if (!contains(attributes, "output")) return;
    bool ours = false;
    std::span<const std::byte> hook;
    for_each_attribute(attributes, [&](std::uint16_t type, auto value) {
      if (type == NFTA_CHAIN_TABLE) ours = std::ranges::equal(value, name);
      if (type == NFTA_CHAIN_HOOK) hook = value;
    });
    if (!ours || hook.empty()) return;
    hooked = true;
    keep(hook);
  });
  const bool all = ask(NFT_MSG_GETRULE, NLM_F_DUMP, NFTA_RULE_TABLE, [&](auto attributes) {
    std::span<const std::byte> expressions;
    bool ours = false;
    for_each_attribute(attributes, [&](std::uint16_t type, auto value) {
      if (type == NFTA_RULE_USERDATA) ours = contains(value, wanted);
      if (type == NFTA_RULE_EXPRESSIONS) expressions = value;
    });
    if (ours) ++rules;
    keep(expressions);
  });
  if (!chains || !hooked || !all || rules != kRules) return {};
  return found;
}

Result<std::unique_ptr<Guard>, std::string> Guard::install(PortRange ports) {
  auto netlink = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!netlink) return "nftables: " + describe(netlink.error());
  std::unique_ptr<Guard> guard{new Guard{ports, std::move(*netlink)}};
  guard->installed_ = guard->read();  // by another shim of the node
  if (guard->installed_.empty())
    if (auto done = guard->restore(); !done) return done.error();
  return guard;
}

bool Guard::intact() {
  const auto now = read();
  return !now.empty() && now == installed_;
}

Result<Done, std::string> Guard::restore() {
  const std::string complaint = run_nft(guard_script(ports_));
  auto now = read();
  if (now.empty()) return complaint.empty() ? "nft did not make the table" : complaint;
  installed_ = std::move(now);
  return Done{};
}

}  // namespace shunt::host
