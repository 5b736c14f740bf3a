#include "netstack/local/fast_name.h"

#include <sys/un.h>

#include <charconv>
#include <cstring>

namespace shunt::local {
namespace {

constexpr std::string_view kFast = "shunt:";
constexpr std::string_view kMailbox = "shunt!";
constexpr std::string_view kEngine = "shunt-engine!";
constexpr std::size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;  // after the leading NUL

char digit(int family) { return family == AF_INET6 ? '6' : '4'; }

std::optional<int> family_of(char digit) {
  if (digit == '4') return AF_INET;
  if (digit == '6') return AF_INET6;
  return std::nullopt;
}

template <typename T>
bool take_number(std::string_view& text, T& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::optional<std::string> encode(const FastName& name) {
  std::string text{kFast};
  text.reserve(kLongest + 1);
  text += std::to_string(name.client_netns);
  text += ':';
  text += digit(name.client_family);
  text += digit(name.server_family);
  text += ':';
  text += to_text(name.client);
  text += '>';
  text += to_text(name.server);
  if (name.service != name.server) {
    text += '=';
    text += to_text(name.service);
  }
  if (name.twin != 0) {
    text += '~';
    text += std::to_string(name.twin);
  }
  if (text.size() > kLongest) return std::nullopt;
  return text;
}

std::optional<std::uint64_t> client_netns_of(std::string_view text) {
  std::uint64_t netns = 0;
  if (!take(text, kFast) || !take_number(text, netns)) return std::nullopt;
  return netns;
}

std::optional<FastName> decode(std::string_view text) {
  FastName name;
  if (!take(text, kFast) || !take_number(text, name.client_netns) || !take(text, ":") ||
      text.size() < 3)
    return std::nullopt;
  const auto client_family = family_of(text[0]);
  const auto server_family = family_of(text[1]);
  if (!client_family || !server_family || text[2] != ':') return std::nullopt;
  name.client_family = *client_family;
  name.server_family = *server_family;
  text.remove_prefix(3);

  if (const auto tilde = text.find('~'); tilde != std::string_view::npos) {
    std::string_view number = text.substr(tilde + 1);
    // One connection, one name: no 0, and none in front.
    if (number.starts_with('0') || !take_number(number, name.twin) || !number.empty())
      return std::nullopt;
    text = text.substr(0, tilde);
  }
  const auto arrow = text.find('>');
  if (arrow == std::string_view::npos) return std::nullopt;
  std::string_view server = text.substr(arrow + 1);
  std::optional<std::string_view> service;
  if (const auto equals = server.find('='); equals != std::string_view::npos) {
    service = server.substr(equals + 1);
    server = server.substr(0, equals);
    if (service == server) return std::nullopt;  // one connection, one name
  }
  const auto client_end = parse_endpoint(text.substr(0, arrow));
  const auto server_end = parse_endpoint(server);
  const auto service_end = service ? parse_endpoint(*service) : server_end;
  if (!client_end || !server_end || !service_end) return std::nullopt;
  name.client = *client_end;
  name.server = *server_end;
  name.service = *service_end;
  return name;
}

std::string mailbox_name(std::uint64_t server_netns, std::uint16_t port, int family) {
  std::string text{kMailbox};
  text += std::to_string(server_netns);
  text += ':';
  text += digit(family);
  text += ':';
  text += std::to_string(port);
  return text;
}

std::optional<MailboxName> decode_mailbox(std::string_view text) {
  MailboxName name;
  if (!take(text, kMailbox) || !take_number(text, name.netns) || !take(text, ":") || text.empty())
    return std::nullopt;
  const auto family = family_of(text[0]);
  text.remove_prefix(1);
  if (!family || !take(text, ":") || !take_number(text, name.port) || !text.empty())
    return std::nullopt;
  name.family = *family;
  return name;
}

std::string engine_name(std::uint64_t netns) {
  return std::string{kEngine} + std::to_string(netns);
}
bool is_engine_name(std::string_view text) { return text.starts_with(kEngine); }

SockAddress abstract_address(std::string_view name) {
  SockAddress result;
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  const std::size_t size = std::min(name.size(), kLongest);
  std::memcpy(un.sun_path + 1, name.data(), size);
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size);
  std::memcpy(&result.storage, &un, sizeof un);
  return result;
}

std::string_view abstract_name(const SockAddress& address) {
  constexpr std::size_t kStart = offsetof(sockaddr_un, sun_path);
  if (address.storage.ss_family != AF_UNIX || address.length <= kStart + 1) return {};
  const char* path = reinterpret_cast<const char*>(&address.storage) + kStart;
  if (path[0] != '\0') return {};
  return {path + 1, address.length - kStart - 1};
}

}  // namespace shunt::local
