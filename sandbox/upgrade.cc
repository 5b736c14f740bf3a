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
#include "sandbox/more_room.h"
#include "sandbox/remote.h"
#include "sandbox/short_lived.h"

#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif

namespace shunt::sandbox {
namespace {

constexpr int kBufLock = 72;  // SO_BUF_LOCK

using local::FastName;
using local::PairKind;

/// The server's end of a connection, confirmed by the kernel of its namespace.
struct Target {
  std::shared_ptr<const local::Pod> pod;
  FastName name;
};

/// A Shunt pod of another node.
struct Distant {
  FastName name;
};

std::variant<Target, Distant, Path> find_target(PodNetwork& network, Remote* remote,
                                                const Established& connection) {
  using control::State;
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
    if (remote != nullptr && remote->state(peer->address) == State::kShunt)
      return Distant{target.name};
    const auto reply = network.translation(*own, *peer);
    if (!reply || reply->from == *peer) network.remember_outside(*peer);
    if (!reply) return Path::kNoLocalPod;
    if (reply->to != *own) return Path::kTranslated;
    target.name.server = reply->from;
    pods = network.owners(reply->from.address);
    if (pods.empty() && remote != nullptr && reply->from.address != peer->address) {
      const State state = remote->state(reply->from.address);
      if (state == State::kShunt) return Distant{target.name};
      if (state == State::kUnknown) {
        remote->discover(reply->from.address, {});  // for the next one
        return Path::kNotDiscovered;
      }
    }
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
  static_cast<void>(::connect(tcp, &none, sizeof none));  // a dead connection is as good
}

/// Whether the handshake goes on. io_uring can report success for such a socket when an ICMP error
/// arrives right after the SYN (seen on 6.18).
bool is_connecting(int tcp) {
  tcp_info info{};
  socklen_t length = sizeof info;
  return ::getsockopt(tcp, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
         info.tcpi_state == TCP_SYN_SENT;
}

/// What is told of this upgrade if it succeeds, but for when that was. Behind a service there may
/// be other servers than this one: those of other nodes would wait for offers, unless told.
std::optional<ShortLived::Upgraded> account(const Services& services, const CallId& call,
                                            GuestFd number, const Established& connection,
                                            const Replacement& replacement) {
  const FastName& name = replacement.name;
  if (services.short_lived == nullptr || call.since == ShortLived::Clock::time_point{} ||
      (services.remote != nullptr && name.service != name.server))
    return std::nullopt;
  const bool far = replacement.path != Path::kUpgraded;
  return ShortLived::Upgraded{call.tid,
                              connection.target,
                              {name.server, name.client.address, far},
                              call.since,
                              {},
                              {static_cast<int>(number), replacement.cookie}};
}

template <typename T>
bool is_set(int socket, int level, int option) {
  T value{};
  socklen_t length = sizeof value;
  return ::getsockopt(socket, level, option, &value, &length) == 0 && value != T{};
}

}  // namespace

bool lingers_zero(int socket) {
  linger value{};
  socklen_t length = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_LINGER, &value, &length) == 0 && value.l_onoff != 0 &&
         value.l_linger == 0;
}

void apply_options(int socket, const SocketOptions& noted) {
  for (const SocketOption& option : noted)
    ::setsockopt(socket, option.level, option.name, option.value.data(),
                 static_cast<socklen_t>(option.value.size()));
}

void carry_buffers(int from, int to) {
  int locks = 0;  // SO_BUF_LOCK, Linux 5.15; without it the sizes are left to the kernel
  socklen_t length = sizeof locks;
  if (::getsockopt(from, SOL_SOCKET, kBufLock, &locks, &length) < 0) return;
  const auto carry = [&](int lock, int option) {
    int size = 0;
    length = sizeof size;
    if ((locks & lock) == 0 || ::getsockopt(from, SOL_SOCKET, option, &size, &length) < 0) return;
    size /= 2;  // the kernel doubles what it is told
    ::setsockopt(to, SOL_SOCKET, option, &size, sizeof size);
  };
  constexpr int kSend = 1;
  constexpr int kReceive = 2;
  carry(kSend, SO_SNDBUF);
  carry(kReceive, SO_RCVBUF);
}

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

Reply on_tcp(Services& services, const Established& connection) {
  if (connection.error != 0) return Fail{connection.error};
  return Return{0, [&unheard = services.unheard, short_lived = services.short_lived,
                    cookie = connection.cookie](const Status& delivered) {
                  if (delivered) return;
                  unheard.add(cookie);
                  if (short_lived != nullptr) short_lived->changed();
                }};
}

Reply upgrade(Call& call, Established connection) {
  PodNetwork& network = *call.services.network;
  local::NodeTable& table = network.table();
  const std::size_t line = *call.worker.line;
  const auto stay = [&](Path reason) -> Reply {
    table.commit(line, connection.ticket);
    call.services.statistics.count(reason);
    return on_tcp(call.services, connection);
  };

  auto found = find_target(network, call.services.remote, connection);
  if (Path* reason = std::get_if<Path>(&found)) {
    if (!remote_endpoint(connection.tcp.get())) *reason = Path::kSlowHandshake;
    if (*reason != Path::kSlowHandshake || !is_connecting(connection.tcp.get()))
      return stay(*reason);
    table.commit(line, connection.ticket);
    call.services.statistics.count(*reason);
    if (connection.error != 0) return Fail{connection.error};
    return RunInKernel{};  // which waits for the handshake
  }
  if (const Distant* distant = std::get_if<Distant>(&found)) {
    table.commit(line, connection.ticket);
    return call.services.remote->connect(call, std::move(connection), distant->name);
  }
  const Target& target = std::get<Target>(found);
  if (table.left_to_kernel(target.pod->slot, target.name.server.port)) {
    table.want(target.pod->slot, target.name.server.port, target.name.client.address);
    if (call.services.short_lived != nullptr)
      call.services.short_lived->in_vain(call.guest.tid(), connection.target,
                                         ShortLived::Clock::now());
    return stay(Path::kLeftToKernel);
  }
  const auto& noted = connection.noted;
  const PairKind kind =
      call.container().pair == config::Pair::kTcp || lingers_zero(connection.tcp.get())
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
    apply_options(fast->get(), *noted);
  }

  if (!repair_epolls(call.services, call.guest, call.fd(), fast->get()))
    return stay(Path::kSupervisorError);
  // It was made non-blocking.
  if ((connection.info.flags & O_NONBLOCK) == 0) ::fcntl(fast->get(), F_SETFL, 0);

  if (!table.commit(line, connection.ticket)) return stay(Path::kServerWentAhead);

  return put_in_place(call.services, call.identity, call.fd(), std::move(connection),
                      call.worker.watch,
                      {std::move(*fast), fast_cookie, Path::kUpgraded, target.name, {}});
}

bool repair_epolls(Services& services, Guest& guest, GuestFd number, int socket) {
  const int watched = static_cast<int>(number);
  const auto entries = services.epolls.registrations(guest.tid(), watched, guest.descriptors());
  if (entries.empty()) return true;
  const Status moved = local::register_again(guest.tid(), entries, watched, socket);
  if (!moved) log::debug("sandbox", "epoll: {}", describe(moved.error()));
  return static_cast<bool>(moved);
}

Reply put_in_place(Services& services, const CallId& call, GuestFd number, Established connection,
                   UniqueFd& watch, Replacement replacement) {
  ReplaceFd reply;
  reply.number = number;
  reply.fd = std::move(replacement.socket);
  reply.close_on_exec = (connection.info.flags & O_CLOEXEC) != 0;
  reply.error = connection.error;
  auto replaced = std::make_shared<bool>(false);
  const bool told = connection.error == 0;
  reply.replaced = [&services, replaced, told, fast_cookie = replacement.cookie, identity = call,
                    number = static_cast<int>(number), close_on_exec = reply.close_on_exec,
                    own = replacement.name.client, peer = replacement.name.service,
                    tcp_cookie = connection.cookie, path = replacement.path,
                    ended = std::move(replacement.ended),
                    old = LettingGo{std::move(connection.tcp), connection.info.inode,
                                    connection.cookie, watch}](const Status& placed) mutable {
    const auto end = [&](Path how, bool upgraded) {
      services.statistics.count(how);
      if (ended) ended(upgraded);
    };
    if (!placed) {
      end(Path::kInterrupted, false);
      return;
    }
    auto shared = old.close_unless_shared(identity.tid, services.network->netns());
    if (shared && shared->valid() &&
        identity.container->notify.replace(identity.id, shared->get(), number, close_on_exec)) {
      // The fast end is closed with that: the server sees it, and hands out TCP.
      end(Path::kSharedSocket, false);
      return;
    }
    if (shared && shared->valid()) abandon(shared->get());
    // On its way in a message, for instance. As long as it lives the server waits for a decision.
    if (shared && !shared->valid()) services.network->reset(own, peer, tcp_cookie);
    *replaced = true;
    if (services.short_lived != nullptr) services.short_lived->changed();
    if (path == Path::kUpgraded && services.more_room != nullptr) services.more_room->handed_out();
    // Now: when the call has returned, another thread may get the next one.
    if (!told) services.unheard.add(fast_cookie);
    end(path, true);
  };
  reply.answered = [&services, replaced, fast_cookie = replacement.cookie, told,
                    tcp_cookie = connection.cookie,
                    done = account(services, call, number, connection, replacement),
                    hold = std::move(connection.hold)](const Status& delivered) mutable {
    if (*replaced && !delivered && told) services.unheard.add(fast_cookie);
    if (!*replaced && !delivered && told) {
      services.unheard.add(tcp_cookie);
      if (services.short_lived != nullptr) services.short_lived->changed();
    }
    if (*replaced) services.notes.forget(tcp_cookie);
    if (done && *replaced && delivered) {
      done->answered = ShortLived::Clock::now();
      services.short_lived->note(*done);
    }
    hold.release();
  };
  return reply;
}

}  // namespace shunt::sandbox
