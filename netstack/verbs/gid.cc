#include "netstack/verbs/gid.h"

#include <algorithm>
#include <cstring>

#include "netstack/base/unique_fd.h"

namespace shunt::verbs {
namespace {

bool is_link_local(const IpAddress& address) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

}  // namespace

std::vector<Gid> usable(const std::vector<ibv_gid_entry>& table, std::uint8_t port, bool ethernet) {
  std::vector<Gid> found;
  for (const ibv_gid_entry& entry : table) {
    if (entry.port_num != port || entry.gid_index > 255) continue;
    if (ethernet && entry.gid_type != IBV_GID_TYPE_ROCE_V2) continue;
    Gid gid;
    std::memcpy(gid.address.data(), entry.gid.raw, sizeof entry.gid.raw);
    if (is_unspecified(gid.address)) continue;
    gid.index = static_cast<std::uint8_t>(entry.gid_index);
    found.push_back(gid);
  }
  if (!ethernet) return found;  // an InfiniBand GID is link-local as a rule
  const auto routable = [](const Gid& gid) { return !is_link_local(gid.address); };
  if (std::any_of(found.begin(), found.end(), routable))
    std::erase_if(found, [&](const Gid& gid) { return !routable(gid); });
  return found;
}

std::optional<IpAddress> route_source(const IpAddress& to) {
  const int family = is_v4(to) ? AF_INET : AF_INET6;
  const UniqueFd probe{::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  const SockAddress address = to_sockaddr(Endpoint{to, 4791}, family);
  if (!probe.valid() || ::connect(probe.get(), address.get(), address.length) != 0) return {};
  const auto from = local_endpoint(probe.get());
  if (!from) return {};
  return from->address;
}

std::optional<GidPair> choose(const std::vector<Gid>& ours, const std::vector<IpAddress>& theirs,
                              int index, const Route& route) {
  const auto same_family = [&](const Gid& gid) -> std::optional<GidPair> {
    for (const IpAddress& address : theirs)
      if (is_v4(address) == is_v4(gid.address)) return GidPair{gid, address};
    return {};
  };
  if (index >= 0) {
    for (const Gid& gid : ours)
      if (gid.index == index) return same_family(gid);
    return {};
  }
  for (const IpAddress& address : theirs) {
    const auto source = route(address);
    if (!source) continue;
    for (const Gid& gid : ours)
      if (gid.address == *source) return GidPair{gid, address};
  }
  for (const Gid& gid : ours)
    if (const auto pair = same_family(gid)) return pair;
  return {};
}

}  // namespace shunt::verbs
