// listen(2): performed on a duplicate; a TCP socket that listens now is published, so that clients
// of this node may offer fast ends.
//
//   no TCP socket of the pod's namespace     runs in the kernel
//   otherwise                                what the kernel says
//   again on a listening socket              changes the backlog, as in Linux

#include <netinet/in.h>
#include <sys/socket.h>

#include "netstack/base/netns.h"
#include "sandbox/listeners.h"
#include "sandbox/remote.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {

Reply on_listen(Call& call) {
  PodNetwork* network = call.services.network;
  if (network == nullptr) return RunInKernel{};
  const auto socket = call.guest.fetch(call.fd());
  if (!socket) return RunInKernel{};
  int protocol = 0;
  socklen_t length = sizeof protocol;
  ::getsockopt(socket->get(), SOL_SOCKET, SO_PROTOCOL, &protocol, &length);
  const auto netns = socket_netns_cookie(socket->get());
  if (netns && *netns == network->private_cookie()) return Fail{EINVAL};  // a fast socket
  if (protocol == IPPROTO_TCP && call.services.remote != nullptr &&
      call.services.remote->is_node_socket(socket->get()))
    return Fail{EINVAL};  // it is connected
  if (protocol != IPPROTO_TCP || !netns || *netns != network->cookie()) return RunInKernel{};
  if (!call.guest.waiting()) return Fail{EINTR};
  if (::listen(socket->get(), call.integer(1)) < 0) return Fail{errno};
  const auto listener = call.services.listeners.enter(socket->get(), network);
  if (listener != nullptr && call.services.remote != nullptr)
    listener->privileged = call.container().may_reconfigure_node(call.guest.tid());
  return Return{0};
}

}  // namespace shunt::sandbox
