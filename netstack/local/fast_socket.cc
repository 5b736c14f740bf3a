#include "netstack/local/fast_socket.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>
#include <cstring>

#include "netstack/base/netns.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83  // Linux 6.16
#endif

namespace shunt::local {
namespace {

constexpr unsigned kMostTwins = 15;

// A writer on the CPU of its reader must not get further ahead than the CPU's own cache reaches.
// Writes on one CPU, rate against AF_UNIX's default, which is 104 KiB counted as these are (the
// kernel doubles them):
//
//              192 KiB  256 KiB  320 KiB  384 KiB  512 KiB  2 MiB  8 MiB
//   of 64 B       0.99     0.97     0.96     0.95     0.92   0.83   0.85
//   of 1 KiB      1.02     1.02     1.00     1.01            0.83
//   of 4 KiB      1.00     1.00     0.99     0.98            0.78   0.75
//   of 64 KiB     1.07     1.09     1.10     1.11     1.10   0.99   0.65
//
// With a CPU for each, small writes do not care, and large ones gain 1.2 x from 256 KiB on.
constexpr std::size_t kFirstBuffer = 256U << 10U;
// Inside one pod both ends may be one thread, which writes all before it reads. TCP takes 4 MB
// there; between two pods about 1 MB.
constexpr std::size_t kFirstBufferInPod = 2U << 20U;

void set(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof value);
}

Result<UniqueFd> offer_unix(const FastName& name, std::size_t most_buffer) {
  UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket.valid()) return last_error("socket(AF_UNIX)");
  if (const Status bound = bind_name(socket.get(), name); !bound) return bound.error();
  prepare_unix_end(socket.get(), std::min(most_buffer, first_buffer(name.client, name.server)));
  return socket;
}

Result<UniqueFd> offer_tcp(const FastName& name) {
  UniqueFd socket{
      ::socket(name.client_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP)};
  if (!socket.valid()) return last_error("socket(TCP)");
  set(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (name.client_family == AF_INET6) set(socket.get(), IPPROTO_IPV6, IPV6_FREEBIND, 1);
  const SockAddress own = to_sockaddr(name.client, name.client_family);
  if (::bind(socket.get(), own.get(), own.length) < 0) return last_error("bind");
  return socket;
}

}  // namespace

Status bind_name(int socket, FastName name) {
  for (;; ++name.twin) {
    const auto text = encode(name);
    if (!text) return Error{ENAMETOOLONG, "fast name"};
    const SockAddress address = abstract_address(*text);
    if (::bind(socket, address.get(), address.length) == 0) return Done{};
    if (errno != EADDRINUSE || name.twin >= kMostTwins) return last_error("bind");
  }
}

std::size_t first_buffer(const Endpoint& client, const Endpoint& server) {
  const bool in_pod = is_loopback(server.address) || client.address == server.address;
  return in_pod ? kFirstBufferInPod : kFirstBuffer;
}

void stamp(int socket) { ::futimens(socket, nullptr); }

void prepare_accepted_end(int socket, std::size_t send_buffer) {
  set(socket, SOL_SOCKET, SO_SNDBUFFORCE, static_cast<int>(send_buffer));
}

void prepare_unix_end(int socket, std::size_t send_buffer) {
  prepare_accepted_end(socket, send_buffer);
  set(socket, SOL_SOCKET, SO_PASSRIGHTS, 0);
}

Result<UniqueFd> offer(const FastName& name, std::uint64_t server_netns, PairKind kind,
                       std::size_t most_buffer) {
  Result<UniqueFd> socket =
      kind == PairKind::kUnix ? offer_unix(name, most_buffer) : offer_tcp(name);
  if (!socket) return socket;
  stamp(socket->get());
  const SockAddress target =
      kind == PairKind::kUnix
          ? abstract_address(mailbox_name(server_netns, name.server.port, name.server_family))
          : to_sockaddr(name.server, name.client_family);
  if (::connect(socket->get(), target.get(), target.length) == 0) return socket;
  // TCP says so even over loopback, where the handshake is over by now; the second call tells.
  if (errno == EINPROGRESS && ::connect(socket->get(), target.get(), target.length) == 0)
    return socket;
  return last_error("connect");
}

std::optional<FastSocket> identify(int socket, std::uint64_t private_cookie) {
  SockAddress own;
  own.length = sizeof own.storage;
  if (::getsockname(socket, own.get(), &own.length) < 0) return std::nullopt;
  const std::string_view name = abstract_name(own);
  if (name.empty()) return std::nullopt;
  FastSocket result;
  if (const auto fast = decode(name)) {
    result = {*fast, true};
  } else if (decode_mailbox(name)) {
    SockAddress peer;
    peer.length = sizeof peer.storage;
    if (::getpeername(socket, peer.get(), &peer.length) < 0) return std::nullopt;
    const auto theirs = decode(abstract_name(peer));
    if (!theirs) return std::nullopt;
    result = {*theirs, false};
  } else {
    return std::nullopt;
  }
  const auto cookie = socket_netns_cookie(socket);
  if (!cookie || *cookie != private_cookie) return std::nullopt;
  return result;
}

void carry_socket_options(int from, int to) {
  const auto copy = [&](int option, auto value) {
    const auto unset = value;
    socklen_t length = sizeof value;
    if (::getsockopt(from, SOL_SOCKET, option, &value, &length) == 0 &&
        std::memcmp(&value, &unset, sizeof value) != 0)
      ::setsockopt(to, SOL_SOCKET, option, &value, sizeof value);
  };
  copy(SO_RCVTIMEO, timeval{});
  copy(SO_SNDTIMEO, timeval{});
  copy(SO_LINGER, linger{});
  copy(SO_KEEPALIVE, int{0});
  copy(SO_OOBINLINE, int{0});
  copy(SO_RCVLOWAT, int{1});
  copy(SO_PRIORITY, int{0});
  copy(SO_REUSEADDR, int{0});
}

}  // namespace shunt::local
