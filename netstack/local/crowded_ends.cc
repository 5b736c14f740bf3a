#include "netstack/local/crowded_ends.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "netstack/local/fast_name.h"
#include "netstack/local/unix_diag.h"

namespace shunt::local {
namespace {

// What is kept while a look lasts. One pod cannot fill it: an end that is beyond is not helped as
// long as that is so. Ends with something to read cost 8 bytes each, of crowded ones some 40.
constexpr std::size_t kMostUnread = 1U << 20U;
constexpr std::size_t kMost = 1U << 18U;
constexpr std::size_t kMostOfPod = 1U << 14U;
// A writer is woken, and poll(2) says that it may write, once no more than a quarter is in use.
constexpr std::uint64_t kWritable = 4;

struct Seen {
  CrowdedEnd end;
  std::uint32_t peer = 0;
};

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

template <typename T>
auto find_inode(const std::vector<T>& sorted, std::uint32_t inode) {
  const auto found =
      std::lower_bound(sorted.begin(), sorted.end(), inode,
                       [](const T& entry, std::uint32_t wanted) { return entry.first < wanted; });
  return found != sorted.end() && found->first == inode ? found : sorted.end();
}

}  // namespace

Result<Look> look_for_crowded(NetlinkSocket& diag) {
  Look look;
  std::vector<Seen> crowded;
  std::unordered_map<std::uint64_t, std::size_t> of_pod;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> unread;  // by the reader's inode
  std::vector<std::uint32_t> pumped;                            // other ends of pumps
  const Status asked = dump_unix(diag, [&](const UnixSocket& socket) {
    if (is_engine_name(socket.name)) {
      if (socket.unread > 0 && pumped.size() < kMostUnread) pumped.push_back(socket.peer);
      return;
    }
    if (socket.unread > 0 && unread.size() < kMostUnread)
      unread.emplace_back(socket.inode, socket.unread);
    const bool is_crowded = kWritable * socket.in_use > socket.allowed;
    if (look.any && !is_crowded) return;  // names take time
    const auto owner = owner_of(socket.name);
    if (!owner) return;
    // Of each connection between pods one end was accepted, and has the mailbox's name, or will be.
    const bool unaccepted = socket.peer == 0 && !socket.finished;
    look.any = look.any || unaccepted || decode_mailbox(socket.name);
    if (!is_crowded || crowded.size() >= kMost || of_pod[*owner]++ >= kMostOfPod) return;
    crowded.push_back(
        {{socket.inode, 0, socket.in_use, socket.allowed, *owner, unaccepted}, socket.peer});
  });
  if (!asked) return asked.error();

  std::sort(unread.begin(), unread.end());
  std::sort(pumped.begin(), pumped.end());
  for (Seen& seen : crowded) {
    const auto reader = find_inode(unread, seen.peer);
    if (!seen.end.unaccepted && reader == unread.end()) continue;
    if (std::binary_search(pumped.begin(), pumped.end(), seen.end.inode)) continue;
    if (!seen.end.unaccepted) seen.end.unread = reader->second;
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
    if (end.unread >= kTcpTakes || end.allowed >= 2 * most) continue;
    // As much as holds what TCP takes of writes like these, the smallest ones if they cannot be
    // counted. The kernel doubles what it is told.
    const std::uint64_t wanted = end.unread == 0 ? most : kTcpTakes * end.in_use / end.unread / 2;
    const std::uint64_t wakes = kWritable * (end.in_use + 1) / 2;
    result.push_back(
        {end.inode, end.netns, std::max(std::min<std::uint64_t>(wanted, most), wakes)});
  }
  return result;
}

}  // namespace shunt::local
