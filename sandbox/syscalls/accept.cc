// accept(2), accept4(2): performed on a duplicate of the listener; see acceptor.h for what is
// handed out.
//
//   no TCP listener of the pod's namespace     runs in the kernel
//   only strangers connect, and often          runs in the kernel; see left_to_kernel.h
//   unknown flags                              runs in the kernel: EINVAL
//   nothing to accept, O_NONBLOCK              EAGAIN
//   nothing to accept, blocking                waits, at most SO_RCVTIMEO: EAGAIN
//   a signal                                   EINTR or restarted by Linux; the connection is kept
//   no room in the descriptor table            EMFILE, and the connection is kept
//   an address that cannot be written          EFAULT, EINVAL, and the connection is lost

#include <netinet/in.h>
#include <sys/socket.h>

#include "netstack/base/netns.h"
#include "sandbox/acceptor.h"
#include "sandbox/listeners.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {
namespace {

bool is(int socket, int option, int wanted) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, option, &value, &length) == 0 && value == wanted;
}

Reply left_to_kernel(Call& call) {
  call.services.statistics.count(Path::kAcceptedByKernel);
  return RunInKernel{};
}

bool kernel_may(Call& call, Listener& listener) {
  {
    const std::lock_guard guard{listener.mutex};
    if (!listener.returned.empty()) return false;  // comes first, and the kernel does not have it
  }
  return listener.left_to_kernel.covers(call.guest.tid(), static_cast<int>(call.fd()),
                                        call.services.listeners.is_only_one(),
                                        call.services.network->table());
}

/// Whether this accept is, or from now on may be, left to the kernel.
bool leave_to_kernel(Call& call, const std::shared_ptr<Listener>& listener, int socket) {
  LeftToKernel& left = listener->left_to_kernel;
  local::NodeTable& table = call.services.network->table();
  bool may = kernel_may(call, *listener);
  if (!may) left.came_home(call.guest.tid(), table, listener->mailbox.get());
  if (!may && left.worth_it(listener->local.port, table) &&
      call.services.acceptor.has_nothing_of(*listener) &&
      left.begin(socket, listener->local.port, table, listener->mailbox.get())) {
    may = kernel_may(call, *listener);
    // Without kcmp(2) it never may. Closed meanwhile, nobody would look after it any more.
    if (!may || call.services.listeners.find(listener->cookie) == nullptr)
      left.end(table, listener->mailbox.get());
  }
  if (may) call.worker.left_to_kernel = listener;
  return may;
}

Reply accept_with(Call& call, int flags) {
  PodNetwork* network = call.services.network;
  if (network == nullptr || (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0) return RunInKernel{};
  if (const auto known = call.worker.left_to_kernel.lock(); known && kernel_may(call, *known))
    return left_to_kernel(call);
  auto socket = call.guest.fetch(call.fd());
  if (!socket) return RunInKernel{};
  const auto cookie = socket_cookie(socket->get());
  if (!cookie) return RunInKernel{};
  auto listener = call.services.listeners.find(*cookie);
  if (listener == nullptr) {
    if (!is(socket->get(), SO_PROTOCOL, IPPROTO_TCP) || !is(socket->get(), SO_ACCEPTCONN, 1))
      return RunInKernel{};
    const auto netns = socket_netns_cookie(socket->get());
    if (!netns || *netns != network->cookie()) return RunInKernel{};
    listener = call.services.listeners.enter(socket->get(), network);
    if (listener == nullptr) return RunInKernel{};
    if (call.services.remote != nullptr)
      listener->privileged = call.container().may_reconfigure_node(call.guest.tid());
  }
  if (!call.guest.waiting()) return Fail{EINTR};  // the descriptor may be another process's
  if (leave_to_kernel(call, listener, socket->get())) return left_to_kernel(call);
  return call.services.acceptor.accept(
      call,
      AcceptRequest{call.identity, static_cast<int>(call.fd()), flags, call.args[1], call.args[2]},
      std::move(listener), std::move(*socket));
}

}  // namespace

Reply on_accept(Call& call) { return accept_with(call, 0); }
Reply on_accept4(Call& call) { return accept_with(call, call.integer(3)); }

}  // namespace shunt::sandbox
