#include "netstack/local/private_net.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/magic.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "netstack/base/interfaces.h"
#include "netstack/base/netlink.h"
#include "netstack/base/netns.h"

namespace shunt::local {
namespace {

constexpr std::uint32_t kLoopbackIndex = 1;  // lo is the first device of every namespace

Status loopback_up(NetlinkSocket& route) {
  ifinfomsg link{};
  link.ifi_index = static_cast<int>(kLoopbackIndex);
  link.ifi_flags = IFF_UP;
  link.ifi_change = IFF_UP;
  NetlinkMessage message{RTM_NEWLINK, NLM_F_ACK};
  message.body(link);
  return route.request(message, [](auto, auto) {});
}

Status everything_local(NetlinkSocket& route, int family) {
  rtmsg entry{};
  entry.rtm_family = static_cast<unsigned char>(family);
  entry.rtm_table = RT_TABLE_LOCAL;
  entry.rtm_protocol = RTPROT_STATIC;
  entry.rtm_scope = RT_SCOPE_HOST;
  entry.rtm_type = RTN_LOCAL;
  NetlinkMessage message{RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL};
  message.body(entry).attribute(RTA_OIF, kLoopbackIndex);
  return route.request(message, [](auto, auto) {});
}

// Sysctls of the namespace the calling thread is in. A missing one is an older kernel: harmless.
std::string get(const char* path) {
  const UniqueFd file{::open(path, O_RDONLY | O_CLOEXEC)};
  std::array<char, 256> text{};
  const ssize_t n = file.valid() ? ::read(file.get(), text.data(), text.size()) : -1;
  return n > 0 ? std::string{text.data(), static_cast<std::size_t>(n)} : std::string{};
}

void set(const char* path, std::string_view value) {
  const UniqueFd file{::open(path, O_WRONLY | O_CLOEXEC)};
  if (file.valid()) [[maybe_unused]]
    const auto ignored = ::write(file.get(), value.data(), value.size());
}

// How far a send buffer may grow by itself. Over a loopback device it soon grows to the most there
// is, usually 4 MB, and a writer on the CPU of its reader then runs out of the CPU's own cache: 64
// KiB writes on one CPU gain 1.9 x with 1 MB or half of it, 1.6 x with 2 MB or a quarter, with
// cubic as with bbr. Between pods TCP, too, takes about 1 MB that nobody reads. Buffers that a
// program sets are bounded by another number.
constexpr long kMostSendBuffer = 1L << 20U;

void bound_send_buffers() {
  constexpr const char* kPath = "/proc/sys/net/ipv4/tcp_wmem";
  long least = 0;
  long first = 0;
  long most = 0;
  if (std::sscanf(get(kPath).c_str(), "%ld %ld %ld", &least, &first, &most) != 3) return;
  if (most <= kMostSendBuffer || first > kMostSendBuffer) return;
  set(kPath,
      std::to_string(least) + " " + std::to_string(first) + " " + std::to_string(kMostSendBuffer));
}

Result<UniqueFd> make() {
  Result<UniqueFd> home = current_netns();
  if (!home) return home.error();
  const InNetns back{home->get()};  // comes home whatever happens below
  if (!back.entered()) return back.entered().error();
  if (::unshare(CLONE_NEWNET) < 0) return last_error("unshare(CLONE_NEWNET)");
  auto route = NetlinkSocket::open(NETLINK_ROUTE);
  if (!route) return route.error();
  if (Status up = loopback_up(*route); !up) return up.error();
  if (Status v4 = everything_local(*route, AF_INET); !v4) return v4.error();
  // No IPv6 in the kernel is no reason to go without: TCP pairs of IPv6 then are not made.
  if (Status v6 = everything_local(*route, AF_INET6); !v6) (void)v6;
  set("/proc/sys/net/core/somaxconn", "65535");  // mailboxes hold what accept queues hold
  // sendto(2) is not trapped: it must not connect a socket that lost its peer.
  set("/proc/sys/net/ipv4/tcp_fastopen", "0");
  set("/proc/sys/net/ipv4/tcp_tw_reuse", "1");
  set("/proc/sys/net/ipv6/ip_nonlocal_bind", "1");
  bound_send_buffers();
  return current_netns();
}

}  // namespace

Result<UniqueFd> open_netns_of(pid_t process, int its_fd) {
  const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(its_fd);
  UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd.valid()) return last_error("open netns");
  struct statfs info {};
  if (::fstatfs(fd.get(), &info) < 0) return last_error("fstatfs netns");
  if (info.f_type != NSFS_MAGIC) return Error{ESTALE, "open netns"};  // the number was reused
  return fd;
}

Result<UniqueFd> join_private_net(NodeTable& table) {
  for (const Pod& pod : table.pods()) {
    Result<UniqueFd> found = open_netns_of(pod.supervisor, pod.record.private_netns_fd);
    if (found) return found;
  }
  return make();
}

Result<std::vector<IpAddress>> pod_addresses() {
  const auto found = interface_addresses();
  if (!found) return found.error();
  std::vector<IpAddress> result;
  for (const InterfaceAddress& entry : *found)
    if (std::find(result.begin(), result.end(), entry.address) == result.end())
      result.push_back(entry.address);
  return result;
}

}  // namespace shunt::local
