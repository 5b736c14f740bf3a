// getsockname(2), getpeername(2): a fast socket answers with the TCP addresses it stands for.
//
//   any other socket                      runs in the kernel
//   a length below 0                      EINVAL
//   a pointer that cannot be used         EFAULT
//   fewer bytes than the address has      cut, and the true length is stored

#include <sys/socket.h>

#include <algorithm>

#include "netstack/local/fast_socket.h"
#include "sandbox/remote.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {
namespace {

Reply answer_name(Call& call, bool of_peer) {
  if (call.services.network == nullptr) return RunInKernel{};
  const auto socket = call.guest.fetch(call.fd());
  if (!socket) return RunInKernel{};
  auto fast = local::identify(socket->get(), call.services.network->private_cookie());
  if (!fast && call.services.remote != nullptr)
    fast = call.services.remote->host_socket(socket->get());
  if (!fast) return RunInKernel{};
  const GuestPtr<int> length_at{call.args[2]};
  const auto room = call.guest.read(length_at);
  if (!room) return Fail{EFAULT};
  if (*room < 0) return Fail{EINVAL};
  const SockAddress address = to_sockaddr(of_peer ? fast->remote() : fast->local(), fast->family());
  if (!call.guest.waiting()) return Fail{EINTR};
  const auto bytes =
      address.bytes().first(std::min<std::size_t>(static_cast<std::size_t>(*room), address.length));
  if (!bytes.empty() && !call.guest.copy_out(call.args[1], bytes)) return Fail{EFAULT};
  if (!call.guest.write(length_at, static_cast<int>(address.length))) return Fail{EFAULT};
  return Return{0};
}

}  // namespace

Reply on_getsockname(Call& call) { return answer_name(call, false); }
Reply on_getpeername(Call& call) { return answer_name(call, true); }

}  // namespace shunt::sandbox
