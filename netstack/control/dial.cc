#include "netstack/control/dial.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <utility>

#include "netstack/base/netns.h"
#include "netstack/control/channel.h"

namespace shunt::control {
namespace {

constexpr int kBacklog = 1024;  // many may call back at once

Result<UniqueFd> tcp_socket(int netns, const Endpoint& endpoint) {
  const InNetns inside{netns};
  if (!inside.entered()) return inside.entered().error();
  const int family = is_v4(endpoint.address) ? AF_INET : AF_INET6;
  UniqueFd socket{::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP)};
  if (!socket.valid()) return last_error("socket");
  return socket;
}

SockAddress sockaddr_of(const Endpoint& endpoint) {
  return to_sockaddr(endpoint, is_v4(endpoint.address) ? AF_INET : AF_INET6);
}

Status set(int socket, int level, int name, int value) {
  if (::setsockopt(socket, level, name, &value, sizeof value) < 0) return last_error("setsockopt");
  return Done{};
}

}  // namespace

Status Dial::start(int netns, const IpAddress& from, const Endpoint& to, Connected done) {
  auto socket = tcp_socket(netns, to);
  if (!socket) return socket.error();
  socket_ = std::move(*socket);
  prepare_socket(socket_.get());
  if (!is_unspecified(from) && is_v4(from) == is_v4(to.address)) {
    // The port is found by connect(2), which can share ports between destinations.
    if (Status later = set(socket_.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); !later)
      return later.error();
    const SockAddress own = sockaddr_of({from, 0});
    if (::bind(socket_.get(), own.get(), own.length) < 0) return last_error("bind");
  }
  const SockAddress address = sockaddr_of(to);
  if (::connect(socket_.get(), address.get(), address.length) < 0 && errno != EINPROGRESS)
    return last_error("connect");
  if (const auto local = local_endpoint(socket_.get())) local_port_ = local->port;
  done_ = std::move(done);
  const auto watch = loop_.watch(socket_.get(), EPOLLOUT, [this](std::uint32_t) { finish(); });
  if (!watch) return watch.error();
  watch_ = *watch;
  return Done{};
}

void Dial::finish() {
  loop_.forget(std::exchange(watch_, 0));
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length) < 0) error = errno;
  const Connected done = std::move(done_);
  if (error != 0)
    done(Error{error, "connect"});
  else
    done(std::move(socket_));
}

Result<UniqueFd> listen_alone(int netns, const Endpoint& at) {
  auto socket = tcp_socket(netns, at);
  if (!socket) return socket.error();
  // Connections of a former shim of this pod may still be in TIME_WAIT: only SO_REUSEADDR lets us
  // bind. A listening socket is not shared because of it, and the flag is gone before anybody else
  // could try.
  if (Status reuse = set(socket->get(), SOL_SOCKET, SO_REUSEADDR, 1); !reuse) return reuse.error();
  // An IPv6 address just given to the pod may still be "tentative".
  if (!is_v4(at.address))
    if (Status free = set(socket->get(), IPPROTO_IPV6, IPV6_FREEBIND, 1); !free)
      return free.error();
  const SockAddress address = sockaddr_of(at);
  if (::bind(socket->get(), address.get(), address.length) < 0) return last_error("bind");
  if (::listen(socket->get(), kBacklog) < 0) return last_error("listen");
  if (Status alone = set(socket->get(), SOL_SOCKET, SO_REUSEADDR, 0); !alone) return alone.error();
  return std::move(*socket);
}

}  // namespace shunt::control
