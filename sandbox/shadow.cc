#include "sandbox/shadow.h"

#include <sys/socket.h>

namespace shunt::sandbox {
namespace {

/// Over the loopback a handshake is done within the call, unless the machine has no time for us.
constexpr std::chrono::milliseconds kHandshake{100};

}  // namespace

Result<UniqueFd> make_shadow(Call& call, int family, std::uint64_t cookie) {
  auto socket = call.services.network->make_tcp_socket(family);
  if (!socket) return socket;
  for (const SocketOption& option : *call.services.notes.get(cookie))
    ::setsockopt(socket->get(), option.level, option.name, option.value.data(),
                 static_cast<socklen_t>(option.value.size()));
  return socket;
}

Result<ConnectedShadow> make_connected_shadow(Call& call, int family, std::uint64_t cookie) {
  auto listener = call.services.network->make_tcp_socket(family);
  if (!listener) return listener.error();
  auto socket = make_shadow(call, family, cookie);
  if (!socket) return socket.error();
  const Endpoint any{*parse_address(family == AF_INET ? "127.0.0.1" : "::1"), 0};
  const SockAddress address = to_sockaddr(any, family);
  if (::bind(listener->get(), address.get(), address.length) < 0 ||
      ::listen(listener->get(), 1) < 0)
    return last_error("listen");
  const auto there = local_endpoint(listener->get());
  if (!there) return last_error("getsockname");
  const SockAddress target = to_sockaddr(*there, family);
  const Status done =
      call.worker.calls.connect(socket->get(), target.get(), target.length, kHandshake);
  if (!done) return done.error();
  auto peer = call.worker.calls.accept(listener->get(), 0);
  if (!peer) return peer.error();
  return ConnectedShadow{std::move(*socket), std::move(*peer)};
}

std::optional<Subject> subject_of(Call& call) {
  if (call.services.network == nullptr) return std::nullopt;
  auto socket = call.guest.fetch(call.fd());
  if (!socket) return std::nullopt;
  const auto cookie = socket_cookie(socket->get());
  if (!cookie) return std::nullopt;
  auto fast = local::identify(socket->get(), call.services.network->private_cookie());
  return Subject{std::move(*socket), *cookie, fast};
}

}  // namespace shunt::sandbox
