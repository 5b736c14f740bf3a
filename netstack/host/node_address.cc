#include "netstack/host/node_address.h"

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "netstack/base/interfaces.h"
#include "netstack/base/unique_fd.h"

namespace shunt::host {
namespace {

/// Where the kernel would send from; connecting a UDP socket sends nothing.
std::optional<IpAddress> source_towards(const char* address) {
  const Endpoint far{*parse_address(address), 9};
  const int family = is_v4(far.address) ? AF_INET : AF_INET6;
  const UniqueFd socket{::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  const SockAddress target = to_sockaddr(far, family);
  if (!socket.valid() || ::connect(socket.get(), target.get(), target.length) < 0)
    return std::nullopt;
  const auto own = local_endpoint(socket.get());
  if (!own || is_loopback(own->address)) return std::nullopt;
  return own->address;
}

/// "veth", "bridge", "vxlan", "virtio_net"; empty if the driver does not say.
std::string driver_of(const std::string& device) {
  const UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&info);
  if (::ioctl(socket.get(), SIOCETHTOOL, &request) < 0) return {};
  return {info.driver, ::strnlen(info.driver, sizeof info.driver)};
}

}  // namespace

Result<IpAddress, std::string> node_address(const std::string& configured) {
  const auto found = interface_addresses();
  const auto all = found ? *found : std::vector<InterfaceAddress>{};
  if (!configured.empty()) {
    const auto address = parse_address(configured);
    if (address && std::any_of(all.begin(), all.end(), [&](const InterfaceAddress& entry) {
          return entry.address == *address;
        }))
      return *address;
    return fmt::format("{} is no address of this node", configured);
  }
  // Documentation addresses (RFC 5737, RFC 3849): only a default route leads there.
  for (const char* far : {"203.0.113.1", "2001:db8::1"})
    if (const auto source = source_towards(far)) return *source;
  // Pods are reached through these, nodes are not.
  constexpr std::array<std::string_view, 5> kInner{"bridge", "vxlan", "geneve", "tun", "dummy"};
  for (const InterfaceAddress& entry : all)
    if (std::find(kInner.begin(), kInner.end(), driver_of(entry.device)) == kInner.end())
      return entry.address;
  return std::string{"this node has no default route and no address; set fabrics.host.address"};
}

}  // namespace shunt::host
