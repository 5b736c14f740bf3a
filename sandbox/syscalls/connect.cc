// connect(2): the kernel connects the program's own TCP socket; then it is perhaps upgraded.
//
//   no TCP socket, or an address that cannot lead to a     runs in the kernel
//   pod of this node
//   refused, unreachable, any other error                  that errno
//   non-blocking, not established within a short bound     EINPROGRESS; stays kernel TCP for good
//   blocking, not established within a short bound         runs in the kernel, which waits for the
//                                                          handshake that is under way
//   established                                            0, or EINPROGRESS if non-blocking (as
//                                                          Linux does even then); see upgrade.h
//   a fast socket                                          EISCONN; AF_UNSPEC gives a fresh TCP
//   socket
//   one of many short ones in a row                        runs in the kernel; see short_lived.h
//   a pod of another node, or perhaps                      asked whether its shim is there, which
//                                                          takes 20 ms at most; see remote.h
//   a call repeated after a signal                         0 if the first one had succeeded
//   a call while another one for the socket is answered    takes the place of one that a signal
//                                                          ended, or comes again afterwards

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "netstack/base/netns.h"
#include "sandbox/remote.h"
#include "sandbox/shadow.h"
#include "sandbox/short_lived.h"
#include "sandbox/syscall_table.h"
#include "sandbox/upgrade.h"

namespace shunt::sandbox {
namespace {

using control::State;

// On one node a handshake ends within connect(2), unless the packets were left to ksoftirqd. Longer
// would hold up the container's other calls; a pod's own address deserves more than a guess.
constexpr std::chrono::microseconds kShort{200};
constexpr std::chrono::microseconds kLonger{2000};

int socket_number(int socket, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  ::getsockopt(socket, SOL_SOCKET, option, &value, &length);
  return value;
}

/// The source address that a connection from `bound` will have; nothing if that is not certain.
std::optional<Endpoint> source_of(const PodNetwork& network, const Endpoint& bound,
                                  const Endpoint& target) {
  if (!is_unspecified(bound.address)) return bound;
  std::optional<Endpoint> source;
  for (const IpAddress& address : network.addresses()) {
    if (is_v4(address) != is_v4(target.address)) continue;
    if (source) return std::nullopt;
    source = Endpoint{address, bound.port};
  }
  return source;
}

/// No offer will come for this connection: the server's shim need not wait for one.
void pass(Remote& remote, const std::optional<Endpoint>& source, const Endpoint& target) {
  if (!source) return;
  local::FastName name;
  name.client = *source;
  name.server = name.service = target;
  remote.pass(name);
}

Reply kernel(Call& call, Path reason) {
  call.services.statistics.count(reason);
  return RunInKernel{};
}

/// Whether it is one of many that are not worth an upgrade. The server hears of it first.
bool is_short_lived(Call& call, const Endpoint& target, std::uint64_t cookie) {
  if (call.services.short_lived == nullptr) return false;
  const auto is_open = [&](const ShortLived::Socket& socket) {
    const auto fetched = call.guest.fetch(GuestFd{socket.number});
    if (!fetched) return fetched.error().number != EBADF;
    const auto found = socket_cookie(fetched->get());
    return found && *found == socket.cookie;
  };
  const auto ruling =
      call.services.short_lived->judge(call.guest.tid(), target, call.identity.since,
                                       {static_cast<int>(call.fd()), cookie}, is_open);
  if (const auto& server = ruling.tell) {
    PodNetwork& network = *call.services.network;
    if (server->far) {
      if (call.services.remote != nullptr)
        call.services.remote->pass_all(server->client, server->address);
    } else {
      for (const auto& pod : network.owners(server->address.address))
        network.table().spare(pod->slot, server->address.port, server->client);
    }
  }
  return ruling.leave;
}

/// The same without a look at the socket, which would cost half as much as the trap.
bool is_known_as_short_lived(const Call& call, const Endpoint& target) {
  const Services& services = call.services;
  return services.short_lived != nullptr && services.connects.empty() &&
         services.short_lived->leaves(call.guest.tid(), target, call.identity.since,
                                      static_cast<int>(call.fd()));
}

/// connect(AF_UNSPEC) on a fast socket: as TCP, which drops the connection and can be used again.
/// The fresh socket really was connected and dropped, so the error it leaves pending is Linux's.
Reply disconnect(Call& call) {
  const auto on = subject_of(call);
  if (!on) return RunInKernel{};
  const auto is_fast_tcp = [&] {  // of a pair of kind tcp, or of the node
    const auto netns = socket_netns_cookie(on->socket.get());
    if (netns && *netns == call.services.network->private_cookie()) return true;
    return call.services.remote != nullptr &&
           call.services.remote->is_node_socket(on->socket.get());
  };
  if (!on->fast && !is_fast_tcp()) return RunInKernel{};
  const int family = on->fast ? on->fast->family() : socket_number(on->socket.get(), SO_DOMAIN);
  const auto info = call.guest.info(call.fd());
  auto fresh = make_connected_shadow(call, family, on->cookie);
  if (!info || !fresh) return Fail{ENOBUFS};
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  static_cast<void>(::connect(fresh->socket.get(), &none, sizeof none));
  if ((info->flags & O_NONBLOCK) != 0) ::fcntl(fresh->socket.get(), F_SETFL, O_NONBLOCK);
  ReplaceFd reply;
  reply.number = call.fd();
  reply.fd = std::move(fresh->socket);
  reply.close_on_exec = (info->flags & O_CLOEXEC) != 0;
  return reply;
}

}  // namespace

Reply on_connect(Call& call) {
  PodNetwork* network = call.services.network;
  const int length = call.integer(2);
  if (network == nullptr || length < static_cast<int>(sizeof(sa_family_t)) ||
      length > static_cast<int>(sizeof(sockaddr_storage)))
    return RunInKernel{};
  SockAddress address;
  address.length = static_cast<socklen_t>(length);
  if (!call.guest.copy_in(
          call.args[1],
          std::as_writable_bytes(std::span{&address.storage, 1}).first(address.length)))
    return RunInKernel{};  // EFAULT, unless another thread puts it right
  if (address.storage.ss_family == AF_UNSPEC) return disconnect(call);
  const auto target = from_sockaddr(address.bytes());
  if (!target) return RunInKernel{};
  if (is_known_as_short_lived(call, *target)) return kernel(call, Path::kShortLived);
  const PodNetwork::Reach reach = network->reach(*target);
  if (reach == PodNetwork::Reach::kNo) return kernel(call, Path::kNoCandidate);
  Remote* remote = reach == PodNetwork::Reach::kYes ? nullptr : call.services.remote;
  const auto state = remote == nullptr ? State::kNot : remote->state(target->address);
  if (reach == PodNetwork::Reach::kOutside && state == State::kNot)
    return kernel(call, Path::kNoLocalPod);

  auto socket = call.guest.fetch(call.fd());
  if (!socket) return RunInKernel{};
  const auto cookie = socket_cookie(socket->get());
  if (!cookie) return RunInKernel{};
  if (socket_number(socket->get(), SO_PROTOCOL) != IPPROTO_TCP) {
    if (!local::identify(socket->get(), network->private_cookie())) return RunInKernel{};
    if (call.services.unheard.take(*cookie)) return Return{0};
    return Fail{EISCONN};
  }
  auto hold = call.services.connects.take(*cookie, call.identity, call.args);
  if (!hold) return Later{};
  if (call.services.unheard.take(*cookie)) return Return{0};
  const auto netns = socket_netns_cookie(socket->get());
  const bool at_home = netns && *netns == network->cookie();
  if (!at_home && call.services.remote != nullptr &&
      call.services.remote->is_node_socket(socket->get()))
    return Fail{EISCONN};
  // The private namespace is no place to connect in: every pod's mailbox is there.
  if (netns && *netns == network->private_cookie()) return Fail{EISCONN};
  if (!at_home || network->host_network() || call.container().plain)
    return kernel(call, Path::kOtherNamespace);
  if (!call.worker.line) return kernel(call, Path::kTooManyThreads);
  // Shims talk to each other there, and to nobody else.
  if (call.services.remote != nullptr && target->port == call.services.remote->port())
    return Fail{ECONNREFUSED};
  if (is_short_lived(call, *target, *cookie)) return kernel(call, Path::kShortLived);
  if (state == State::kUnknown) {
    remote->discover(target->address, [&services = call.services, identity = call.identity,
                                       args = call.args] { services.again(identity, args); });
    return Later{};
  }
  const auto info = call.guest.info(call.fd());
  if (!info || !call.guest.waiting() || !call.worker.calls.ready()) return RunInKernel{};

  // A port the program chose stays taken as long as its socket does; a fast one would not hold it.
  SockAddress bound;
  bound.length = sizeof bound.storage;
  if (::getsockname(socket->get(), bound.get(), &bound.length) < 0) return RunInKernel{};
  if (const auto chosen = from_sockaddr(bound.bytes()); chosen && chosen->port != 0) {
    if (state == State::kShunt) pass(*remote, source_of(*network, *chosen, *target), *target);
    return kernel(call, Path::kUnusualOption);
  }
  const auto noted = call.services.notes.get(*cookie);
  if (must_stay(socket->get(), *info, *noted)) return kernel(call, Path::kUnusualOption);
  if (!network->options().loopback && network->is_own(target->address))
    return kernel(call, Path::kLoopbackOff);

  const bool likely = reach == PodNetwork::Reach::kYes || state == State::kShunt;
  auto patience = likely ? kLonger : kShort;
  if (state == State::kShunt) patience = remote->bound(patience);
  const bool nonblocking = (info->flags & O_NONBLOCK) != 0;
  const std::uint64_t ticket = network->table().begin(*call.worker.line);
  SocketCalls::Started started;
  if (nonblocking) {
    started =
        call.worker.calls.start_connect(socket->get(), address.get(), address.length, patience);
  } else {
    const Status done =
        call.worker.calls.connect(socket->get(), address.get(), address.length, patience);
    started = {done ? 0 : done.error().number, static_cast<bool>(done)};
  }
  if (!started.established) {
    network->table().commit(*call.worker.line, ticket);
    const bool slow = started.error == EINPROGRESS;
    call.services.statistics.count(slow ? Path::kSlowHandshake : Path::kConnectFailed);
    if (slow && state == State::kShunt) pass(*remote, local_endpoint(socket->get()), *target);
    if (slow && !nonblocking) return RunInKernel{};
    return Fail{started.error};
  }
  return upgrade(call, Established{std::move(*socket), *cookie, bound.storage.ss_family, *target,
                                   ticket, *info, noted, started.error, std::move(hold)});
}

}  // namespace shunt::sandbox
