// getsockopt(2), setsockopt(2): where AF_UNIX would answer otherwise than TCP.
//
//   kernel socket, getsockopt     runs in the kernel
//   kernel socket, setsockopt     runs in the kernel; noted, to be carried over by an upgrade
//   fast socket, setsockopt       done to a fresh TCP socket that was told the same before: its
//   errno
//                                 is the answer, success is noted
//   fast socket, getsockopt       asked of such a socket; what depends on the connection (TCP_INFO,
//                                 TCP_MAXSEG, ...) of a connected one
//   a value longer than kLongest  runs in the kernel (TCP has no option as long)

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "netstack/local/fast_socket.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {
namespace {

constexpr int kLongest = 1024;

/// A TCP socket that was told what the fast one was told.
Result<UniqueFd> shadow(Call& call, int family, std::uint64_t cookie) {
  auto socket = call.services.network->make_tcp_socket(family);
  if (!socket) return socket;
  for (const SocketOption& option : *call.services.notes.get(cookie))
    ::setsockopt(socket->get(), option.level, option.name, option.value.data(),
                 static_cast<socklen_t>(option.value.size()));
  return socket;
}

/// A connected one.
Result<UniqueFd> connected_shadow(Call& call, int family, std::uint64_t cookie) {
  auto listener = call.services.network->make_tcp_socket(family);
  if (!listener) return listener;
  auto socket = shadow(call, family, cookie);
  if (!socket) return socket;
  const Endpoint any{*parse_address(family == AF_INET ? "127.0.0.1" : "::1"), 0};
  const SockAddress address = to_sockaddr(any, family);
  if (::bind(listener->get(), address.get(), address.length) < 0 ||
      ::listen(listener->get(), 1) < 0)
    return last_error("listen");
  const auto there = local_endpoint(listener->get());
  if (!there) return last_error("getsockname");
  const SockAddress target = to_sockaddr(*there, family);
  const Status done = call.worker.calls.connect(socket->get(), target.get(), target.length,
                                                std::chrono::milliseconds{1});
  if (!done) return done.error();
  return socket;
}

bool depends_on_connection(int level, int name) {
  constexpr std::array kNames{TCP_INFO, TCP_MAXSEG, TCP_CC_INFO, TCP_WINDOW_CLAMP, TCP_QUICKACK};
  return level == IPPROTO_TCP && std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

struct Subject {
  UniqueFd socket;
  std::uint64_t cookie = 0;
  std::optional<local::FastSocket> fast;
};

std::optional<Subject> subject(Call& call) {
  if (call.services.network == nullptr) return std::nullopt;
  auto socket = call.guest.fetch(call.fd());
  if (!socket) return std::nullopt;
  const auto cookie = socket_cookie(socket->get());
  if (!cookie) return std::nullopt;
  auto fast = local::identify(socket->get(), call.services.network->private_cookie());
  return Subject{std::move(*socket), *cookie, std::move(fast)};
}

}  // namespace

Reply on_setsockopt(Call& call) {
  const int level = call.integer(1);
  const int name = call.integer(2);
  const int length = call.integer(4);
  const auto on = subject(call);
  if (!on || length < 0 || length > kLongest) return RunInKernel{};
  SocketOption option{level, name, std::vector<std::byte>(static_cast<std::size_t>(length))};
  if (!option.value.empty() && !call.guest.copy_in(call.args[3], option.value))
    return on->fast ? Reply{Fail{EFAULT}} : Reply{RunInKernel{}};

  if (!on->fast) {
    // A connected socket will not be upgraded any more, so there is nothing to carry.
    if (!remote_endpoint(on->socket.get())) call.services.notes.set(on->cookie, std::move(option));
    return RunInKernel{};
  }
  const auto tcp = shadow(call, on->fast->family(), on->cookie);
  if (!tcp) return Fail{ENOBUFS};
  if (!call.guest.waiting()) return Fail{EINTR};
  if (::setsockopt(tcp->get(), level, name, option.value.data(),
                   static_cast<socklen_t>(option.value.size())) < 0)
    return Fail{errno};
  call.services.notes.set(on->cookie, std::move(option));
  return Return{0};
}

Reply on_getsockopt(Call& call) {
  const int level = call.integer(1);
  const int name = call.integer(2);
  const auto on = subject(call);
  if (!on || !on->fast) return RunInKernel{};
  const GuestPtr<int> length_at{call.args[4]};
  const auto room = call.guest.read(length_at);
  if (!room) return Fail{EFAULT};
  if (*room < 0) return Fail{EINVAL};

  const auto tcp = depends_on_connection(level, name)
                       ? connected_shadow(call, on->fast->family(), on->cookie)
                       : shadow(call, on->fast->family(), on->cookie);
  if (!tcp) return Fail{ENOBUFS};
  std::array<std::byte, kLongest> value{};
  auto length = static_cast<socklen_t>(std::min(*room, kLongest));
  if (::getsockopt(tcp->get(), level, name, value.data(), &length) < 0) return Fail{errno};
  if (!call.guest.waiting()) return Fail{EINTR};
  const auto bytes = std::span{value}.first(std::min<std::size_t>(length, value.size()));
  if (!bytes.empty() && !call.guest.copy_out(call.args[3], bytes)) return Fail{EFAULT};
  if (!call.guest.write(length_at, static_cast<int>(length))) return Fail{EFAULT};
  return Return{0};
}

}  // namespace shunt::sandbox
