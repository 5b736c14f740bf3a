// An IP address and a port: one value type for IPv4 and IPv6, so that nobody below asks for the
// family. IPv4 is stored as ::ffff:a.b.c.d. `sockaddr` exists only where it is copied from or to a
// kernel or a guest; these two functions are that border.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace shunt {

using IpAddress = std::array<std::uint8_t, 16>;  ///< network byte order, IPv4 mapped

bool is_v4(const IpAddress& address);
bool is_loopback(const IpAddress& address);     ///< 127.0.0.0/8 or ::1
bool is_unspecified(const IpAddress& address);  ///< 0.0.0.0 or ::
std::string to_text(const IpAddress& address);  ///< "10.0.0.1", "fd00::1"
std::optional<IpAddress> parse_address(std::string_view text);

struct Endpoint {
  IpAddress address{};
  std::uint16_t port = 0;  ///< host order
  auto operator<=>(const Endpoint&) const = default;
};

std::string to_text(const Endpoint& endpoint);  ///< "10.0.0.1:80", "[fd00::1]:80"
std::optional<Endpoint> parse_endpoint(std::string_view text);

/// Empty for anything but a whole AF_INET or AF_INET6 address without a scope.
std::optional<Endpoint> from_sockaddr(std::span<const std::byte> bytes);

/// A sockaddr and its true length.
struct SockAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  std::span<const std::byte> bytes() const {
    return std::as_bytes(std::span{&storage, 1})
        .first(std::min<std::size_t>(length, sizeof storage));
  }
};
/// As a socket of `family` reports it: IPv4 appears mapped in AF_INET6. `family` must be able to
/// hold the address.
SockAddress to_sockaddr(const Endpoint& endpoint, int family);

/// getsockname(2) and getpeername(2) of a socket of ours; empty if it is no IP socket or has none.
std::optional<Endpoint> local_endpoint(int fd);
std::optional<Endpoint> remote_endpoint(int fd);

}  // namespace shunt

template <>
struct std::hash<shunt::IpAddress> {
  std::size_t operator()(const shunt::IpAddress& address) const noexcept {
    return std::hash<std::string_view>{}(
        {reinterpret_cast<const char*>(address.data()), address.size()});
  }
};
template <>
struct std::hash<shunt::Endpoint> {
  std::size_t operator()(const shunt::Endpoint& endpoint) const noexcept {
    return std::hash<shunt::IpAddress>{}(endpoint.address) * 31 + endpoint.port;
  }
};
