#include "sandbox/upgrade.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <variant>

#include "netstack/base/log.h"
#include "sandbox/epoll_cache.h"
#include "sandbox/letting_go.h"

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

namespace shunt::sandbox {
namespace {

using local::FastName;
using local::PairKind;

/// The server's end of a connection, confirmed by the kernel of its namespace.
struct Target {
  std::shared_ptr<const local::Pod> pod;
  FastName name;
};

std::variant<Target, Path> find_target(PodNetwork& network, const Established& connection) {
  const auto own = local_endpoint(connection.tcp.get());
  // The socket was not bound before, so it cannot be connected to anything but what was asked for.
  const auto peer = is_unspecified(connection.target.address)
                        ? remote_endpoint(connection.tcp.get())
                        : std::optional{connection.target};
  if (!own || !peer) return Path::kSlowHandshake;  // reset in between
  if (*own == *peer) return Path::kSelfConnect;
  Target target;
  target.name.client_netns = network.netns();
  target.name.client_family = connection.family;
  target.name.client = *own;
  target.name.server = target.name.service = *peer;

  if (network.is_own(peer->address) && !network.options().loopback) return Path::kLoopbackOff;
  auto pods = network.owners(peer->address);
  if (pods.empty()) {
    const auto reply = network.translation(*own, *peer);
    if (!reply || reply->from == *peer) network.remember_outside(*peer);
    if (!reply) return Path::kNoLocalPod;
    if (reply->to != *own) return Path::kTranslated;
    target.name.server = reply->from;
    pods = network.owners(reply->from.address);
    if (pods.empty() || is_loopback(reply->from.address)) return Path::kNoLocalPod;
  }
  for (auto& pod : pods) {
    const auto state = network.look_up(*pod, target.name.server, *own);
    if (!state || !state->established) continue;
    target.name.server_family = state->family;
    target.pod = std::move(pod);
    return target;
  }
  return Path::kNotAtServer;
}

Path why_not_offered(int error) {
  switch (error) {
    case ECONNREFUSED:
      return Path::kNotPublished;
    case EAGAIN:
    case EINPROGRESS:
      return Path::kMailboxFull;
    case EADDRINUSE:
    case EADDRNOTAVAIL:
      return Path::kNameInUse;
    case ENAMETOOLONG:
      return Path::kNameTooLong;
    default:
      return Path::kSupervisorError;
  }
}

/// Closes a connection so that both kernels forget it at once and the server is told: disconnecting
/// an established socket sends a reset, whoever else still holds the file.
void abandon(int tcp) {
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  ::connect(tcp, &none, sizeof none);
}

/// Whether the handshake goes on. io_uring can report success for such a socket when an ICMP error
/// arrives right after the SYN (seen on 6.18).
bool is_connecting(int tcp) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return ::getsockopt(tcp, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
         info.tcpi_state == TCP_SYN_SENT;
}

bool lingers_zero(int socket) {
  linger value{};
  socklen_t length = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_LINGER, &value, &length) == 0 && value.l_onoff != 0 &&
         value.l_linger == 0;
}

template <typename T>
bool is_set(int socket, int level, int option) {
  T value{};
  socklen_t length = sizeof value;
  return ::getsockopt(socket, level, option, &value, &length) == 0 && value != T{};
}

}  // namespace

bool must_stay(int socket, const FdInfo& info, const SocketOptions& noted) {
  if (is_set<int>(socket, SOL_SOCKET, SO_MARK) ||
      is_set<int>(socket, SOL_SOCKET, SO_BINDTOIFINDEX) || (info.flags & O_ASYNC) != 0 ||
      ::fcntl(socket, F_GETOWN) != 0)
    return true;
  constexpr int kUlp = 31;  // TCP_ULP; glibc's header lacks the newer names
  constexpr int kMd5 = 14;
  constexpr int kMd5Ext = 32;
  constexpr int kAoFirst = 38;
  constexpr int kAoLast = 42;
  return std::any_of(noted.begin(), noted.end(), [](const SocketOption& option) {
    switch (option.level) {
      case SOL_SOCKET:
        return option.name == SO_ZEROCOPY;
      case IPPROTO_TCP:
        return option.name == kUlp || option.name == kMd5 || option.name == kMd5Ext ||
               (option.name >= kAoFirst && option.name <= kAoLast) ||
               option.name == TCP_FASTOPEN_CONNECT || option.name == TCP_REPAIR;
      case IPPROTO_IP:
        return option.name == IP_TRANSPARENT || option.name == IP_OPTIONS;
      case IPPROTO_IPV6:
        return option.name == IPV6_TRANSPARENT;
      default:
        return false;
    }
  });
}

Reply upgrade(Call& call, Established connection) {
  PodNetwork& network = *call.services.network;
  local::NodeTable& table = network.table();
  const std::size_t line = *call.worker.line;
  const auto stay = [&](Path reason) -> Reply {
    table.commit(line, connection.ticket);
    call.services.statistics.count(reason);
    if (connection.error != 0) return Fail{connection.error};
    return Return{
        0, [&unheard = call.services.unheard, cookie = connection.cookie](const Status& delivered) {
          if (!delivered) unheard.add(cookie);
        }};
  };

  auto found = find_target(network, connection);
  if (Path* reason = std::get_if<Path>(&found)) {
    if (!remote_endpoint(connection.tcp.get())) *reason = Path::kSlowHandshake;
    if (*reason != Path::kSlowHandshake || !is_connecting(connection.tcp.get()))
      return stay(*reason);
    table.commit(line, connection.ticket);
    call.services.statistics.count(*reason);
    if (connection.error != 0) return Fail{connection.error};
    return RunInKernel{};  // which waits for the handshake
  }
  const Target& target = std::get<Target>(found);

  const auto& noted = connection.noted;
  const PairKind kind =
      network.options().pair == config::Pair::kTcp || lingers_zero(connection.tcp.get())
          ? PairKind::kTcp
          : PairKind::kUnix;
  // Its getpeername is the kernel's and would show the backend.
  if (kind == PairKind::kTcp && target.name.service != target.name.server)
    return stay(Path::kTranslated);
  // Over its own loopback the pod has that kind of pair already.
  if (kind == PairKind::kTcp && network.is_own(target.name.server.address))
    return stay(Path::kUnusualOption);

  auto fast =
      local::offer(target.name, target.pod->record.netns, kind, network.options().send_buffer);
  if (!fast) return stay(why_not_offered(fast.error().number));
  local::carry_socket_options(connection.tcp.get(), fast->get());
  std::uint64_t fast_cookie = 0;
  if (const auto cookie = socket_cookie(fast->get())) fast_cookie = *cookie;
  if (kind == PairKind::kUnix) {
    call.services.notes.put(fast_cookie, noted);
  } else {
    for (const SocketOption& option : *noted)
      ::setsockopt(fast->get(), option.level, option.name, option.value.data(),
                   static_cast<socklen_t>(option.value.size()));
  }

  const int number = static_cast<int>(call.fd());
  const auto entries =
      call.services.epolls.registrations(call.guest.tid(), number, call.guest.descriptors());
  if (!entries.empty()) {
    const Status moved = local::register_again(call.guest.tid(), entries, number, fast->get());
    if (!moved) {
      log::debug("sandbox", "epoll: {}", describe(moved.error()));
      return stay(Path::kSupervisorError);
    }
  }
  // It was made non-blocking.
  if ((connection.info.flags & O_NONBLOCK) == 0) ::fcntl(fast->get(), F_SETFL, 0);

  if (!table.commit(line, connection.ticket)) return stay(Path::kServerWentAhead);

  ReplaceFd reply;
  reply.number = call.fd();
  reply.fd = std::move(*fast);
  reply.close_on_exec = (connection.info.flags & O_CLOEXEC) != 0;
  reply.error = connection.error;
  auto replaced = std::make_shared<bool>(false);
  reply.replaced = [&services = call.services, replaced, identity = call.identity, number,
                    close_on_exec = reply.close_on_exec,
                    old = LettingGo{std::move(connection.tcp), connection.info.inode,
                                    call.worker.watch}](const Status& placed) mutable {
    if (!placed) {
      services.statistics.count(Path::kInterrupted);
      return;
    }
    auto shared = old.close_unless_shared(identity.tid);
    if (shared && shared->valid() &&
        identity.container->notify.replace(identity.id, shared->get(), number, close_on_exec)) {
      // The fast end is closed with that: the server sees it, and hands out TCP.
      services.statistics.count(Path::kSharedSocket);
      return;
    }
    if (shared && shared->valid()) abandon(shared->get());
    *replaced = true;
    services.statistics.count(Path::kUpgraded);
  };
  const bool told = connection.error == 0;
  reply.answered = [&services = call.services, replaced, fast_cookie, told,
                    tcp_cookie = connection.cookie](const Status& delivered) {
    if (*replaced && (!delivered || !told)) services.unheard.add(fast_cookie);
    if (!*replaced && !delivered && told) services.unheard.add(tcp_cookie);
    if (*replaced) services.notes.forget(tcp_cookie);
  };
  return reply;
}

}  // namespace shunt::sandbox
