#include "netstack/base/interfaces.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>

namespace shunt {

Result<std::vector<InterfaceAddress>> interface_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) < 0) return last_error("getifaddrs");
  std::vector<InterfaceAddress> result;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_UP) == 0) continue;
    const std::size_t size = entry->ifa_addr->sa_family == AF_INET    ? sizeof(sockaddr_in)
                             : entry->ifa_addr->sa_family == AF_INET6 ? sizeof(sockaddr_in6)
                                                                      : 0;
    const auto endpoint =
        from_sockaddr({reinterpret_cast<const std::byte*>(entry->ifa_addr), size});
    // Link-local ones have a scope: no endpoint.
    if (endpoint && !is_loopback(endpoint->address))
      result.push_back({entry->ifa_name, endpoint->address});
  }
  ::freeifaddrs(list);
  return result;
}

}  // namespace shunt
