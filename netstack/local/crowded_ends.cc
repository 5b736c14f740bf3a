#include "netstack/local/crowded_ends.h"

#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "netstack/local/fast_name.h"

namespace shunt::local {
namespace {

// Crowded ends, and ends with something to read, each: some MiB while a look lasts. One that is
// beyond is not helped as long as that is so.
constexpr std::size_t kMost = 65536;
// A writer is woken, and poll(2) says that it may write, once no more than a quarter is in use.
constexpr std::uint64_t kWritable = 4;

struct Seen {
  CrowdedEnd end;
  std::uint32_t peer = 0;
};

template <typename T>
bool copy(std::span<const std::byte> value, T& into) {
  if (value.size() < sizeof into) return false;
  std::memcpy(&into, value.data(), sizeof into);
  return true;
}

/// The pod whose end has this name; nothing if it is not an end between two pods of this node.
std::optional<std::uint64_t> owner_of(std::string_view name) {
  if (const auto fast = decode(name)) {
    if (fast->client_netns == 0) return std::nullopt;  // the client is on another node
    return fast->client_netns;
  }
  const auto mailbox = decode_mailbox(name);
  if (!mailbox || mailbox->port == 0) return std::nullopt;  // port 0: see Remote::open()
  return mailbox->netns;
}

bool is_pump(std::string_view name) { return name.starts_with("shunt-engine!"); }

template <typename T>
auto find_inode(const std::vector<T>& sorted, std::uint32_t inode) {
  const auto found =
      std::lower_bound(sorted.begin(), sorted.end(), inode,
                       [](const T& entry, std::uint32_t wanted) { return entry.first < wanted; });
  return found != sorted.end() && found->first == inode ? found : sorted.end();
}

}  // namespace

Result<Look> look_for_crowded(NetlinkSocket& diag) {
  unix_diag_req query{};
  query.sdiag_family = AF_UNIX;
  query.udiag_states = 1U << TCP_ESTABLISHED;
  query.udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_MEMINFO;
  NetlinkMessage message{SOCK_DIAG_BY_FAMILY, NLM_F_DUMP};
  message.body(query);

  Look look;
  std::vector<Seen> crowded;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> unread;  // by the reader's inode
  std::vector<std::pair<std::uint32_t, bool>> pumped;           // other ends of pumps
  const Status asked = diag.request(message, [&](std::uint16_t, auto payload) {
    unix_diag_msg header{};
    if (!copy(payload, header) || header.udiag_ino == 0) return;
    Seen seen;
    seen.end.inode = header.udiag_ino;
    std::string_view name;
    unix_diag_rqlen queues{};
    std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
    for_each_attribute(payload.subspan(sizeof header), [&](std::uint16_t type, auto value) {
      const char* text = reinterpret_cast<const char*>(value.data());
      if (type == UNIX_DIAG_NAME && value.size() > 1 && text[0] == '\0')
        name = {text + 1, value.size() - 1};
      if (type == UNIX_DIAG_PEER) copy(value, seen.peer);
      if (type == UNIX_DIAG_RQLEN) copy(value, queues);
      // Newer kernels tell more variables than these headers know.
      if (type == UNIX_DIAG_MEMINFO && value.size() >= (SK_MEMINFO_SNDBUF + 1) * sizeof memory[0])
        std::memcpy(memory.data(), value.data(), std::min(value.size(), sizeof memory));
    });
    if (is_pump(name)) {
      if (queues.udiag_rqueue > 0 && pumped.size() < kMost) pumped.emplace_back(seen.peer, true);
      return;
    }
    if (queues.udiag_rqueue > 0 && unread.size() < kMost)
      unread.emplace_back(header.udiag_ino, queues.udiag_rqueue);
    seen.end.in_use = memory[SK_MEMINFO_WMEM_ALLOC];
    seen.end.allowed = memory[SK_MEMINFO_SNDBUF];
    const bool is_crowded = kWritable * seen.end.in_use > seen.end.allowed;
    if (look.any && !is_crowded) return;  // names take time
    const auto owner = owner_of(name);
    // Of each connection between pods one end was accepted, and has the mailbox's name.
    look.any = look.any || (owner && decode_mailbox(name));
    if (!owner || !is_crowded || crowded.size() >= kMost) return;
    seen.end.netns = *owner;
    crowded.push_back(seen);
  });
  if (!asked) return asked.error();

  std::sort(unread.begin(), unread.end());
  std::sort(pumped.begin(), pumped.end());
  for (Seen& seen : crowded) {
    const auto reader = find_inode(unread, seen.peer);
    if (reader == unread.end() || find_inode(pumped, seen.end.inode) != pumped.end()) continue;
    seen.end.unread = reader->second;
    look.crowded.push_back(seen.end);
  }
  return look;
}

std::vector<StuckEnd> find_stuck(const Look& before, const Look& after, std::size_t most) {
  std::vector<std::pair<std::uint32_t, const CrowdedEnd*>> then;
  then.reserve(before.crowded.size());
  for (const CrowdedEnd& end : before.crowded) then.emplace_back(end.inode, &end);
  std::sort(then.begin(), then.end());
  std::vector<StuckEnd> result;
  for (const CrowdedEnd& end : after.crowded) {
    const auto known = find_inode(then, end.inode);
    if (known == then.end() || *known->second != end) continue;
    if (end.unread == 0 || end.unread >= kTcpTakes || end.allowed >= 2 * most) continue;
    // As much as holds what TCP takes of writes like these. The kernel doubles what it is told.
    const std::uint64_t wanted = kTcpTakes * end.in_use / end.unread / 2;
    const std::uint64_t wakes = kWritable * (end.in_use + 1) / 2;
    result.push_back(
        {end.inode, end.netns, std::max(std::min<std::uint64_t>(wanted, most), wakes)});
  }
  return result;
}

}  // namespace shunt::local
