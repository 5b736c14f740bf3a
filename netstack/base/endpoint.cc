#include "netstack/base/endpoint.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace shunt {
namespace {

constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::optional<Endpoint> name_of(int fd, decltype(&::getsockname) call) {
  SockAddress name;
  name.length = sizeof name.storage;
  if (call(fd, name.get(), &name.length) < 0) return std::nullopt;
  return from_sockaddr(std::as_bytes(std::span{&name.storage, 1})
                           .first(std::min<std::size_t>(name.length, sizeof name.storage)));
}

}  // namespace

bool is_v4(const IpAddress& address) {
  return std::equal(kMapped.begin(), kMapped.end(), address.begin());
}

bool is_loopback(const IpAddress& address) {
  if (is_v4(address)) return address[12] == 127;
  constexpr IpAddress kLoopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return address == kLoopback;
}

bool is_unspecified(const IpAddress& address) {
  const auto from = is_v4(address) ? address.begin() + kMapped.size() : address.begin();
  return std::all_of(from, address.end(), [](std::uint8_t byte) { return byte == 0; });
}

std::string to_text(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (is_v4(address)) {
    ::inet_ntop(AF_INET, address.data() + kMapped.size(), text.data(), text.size());
  } else {
    ::inet_ntop(AF_INET6, address.data(), text.data(), text.size());
  }
  return text.data();
}

std::optional<IpAddress> parse_address(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> copy{};
  if (text.size() >= copy.size()) return std::nullopt;
  std::copy(text.begin(), text.end(), copy.begin());
  IpAddress address{};
  if (::inet_pton(AF_INET6, copy.data(), address.data()) == 1) return address;
  std::copy(kMapped.begin(), kMapped.end(), address.begin());
  if (::inet_pton(AF_INET, copy.data(), address.data() + kMapped.size()) == 1) return address;
  return std::nullopt;
}

std::string to_text(const Endpoint& endpoint) {
  const std::string address = to_text(endpoint.address);
  const std::string port = std::to_string(endpoint.port);
  return is_v4(endpoint.address) ? address + ":" + port : "[" + address + "]:" + port;
}

std::optional<Endpoint> parse_endpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = parse_address(host);
  if (!address || is_v4(*address) == bracketed) return std::nullopt;
  Endpoint endpoint{*address, 0};
  const auto [end, error] =
      std::from_chars(port.data(), port.data() + port.size(), endpoint.port, 10);
  if (error != std::errc{} || end != port.data() + port.size()) return std::nullopt;
  return endpoint;
}

std::optional<Endpoint> from_sockaddr(std::span<const std::byte> bytes) {
  sa_family_t family = AF_UNSPEC;
  if (bytes.size() < sizeof family) return std::nullopt;
  std::memcpy(&family, bytes.data(), sizeof family);
  Endpoint endpoint;
  if (family == AF_INET && bytes.size() >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, bytes.data(), sizeof in);
    std::copy(kMapped.begin(), kMapped.end(), endpoint.address.begin());
    std::memcpy(endpoint.address.data() + kMapped.size(), &in.sin_addr, sizeof in.sin_addr);
    endpoint.port = ntohs(in.sin_port);
    return endpoint;
  }
  // Linux takes an AF_INET6 address without its scope (SIN6_LEN_RFC2133, 24 bytes).
  constexpr std::size_t kShortest = 24;
  if (family == AF_INET6 && bytes.size() >= kShortest) {
    sockaddr_in6 in{};
    std::memcpy(&in, bytes.data(), std::min(bytes.size(), sizeof in));
    if (in.sin6_scope_id != 0) return std::nullopt;
    std::memcpy(endpoint.address.data(), &in.sin6_addr, sizeof in.sin6_addr);
    endpoint.port = ntohs(in.sin6_port);
    return endpoint;
  }
  return std::nullopt;
}

SockAddress to_sockaddr(const Endpoint& endpoint, int family) {
  SockAddress result;
  if (family == AF_INET) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    std::memcpy(&in.sin_addr, endpoint.address.data() + kMapped.size(), sizeof in.sin_addr);
    std::memcpy(&result.storage, &in, sizeof in);
    result.length = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(endpoint.port);
    std::memcpy(&in.sin6_addr, endpoint.address.data(), sizeof in.sin6_addr);
    // An unset IPv4 address of an AF_INET6 socket reads ::, not ::ffff:0.0.0.0.
    if (is_v4(endpoint.address) && is_unspecified(endpoint.address)) in.sin6_addr = in6addr_any;
    std::memcpy(&result.storage, &in, sizeof in);
    result.length = sizeof in;
  }
  return result;
}

std::optional<Endpoint> local_endpoint(int fd) { return name_of(fd, &::getsockname); }
std::optional<Endpoint> remote_endpoint(int fd) { return name_of(fd, &::getpeername); }

}  // namespace shunt
