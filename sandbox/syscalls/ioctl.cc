// ioctl(2), SIOCOUTQ and SIOCOUTQNSD: bytes the peer has not acknowledged, or that were not sent.
//
//   anything but a fast socket     runs in the kernel
//   a fast socket                  0: on one node whatever was written has arrived

#include "netstack/local/fast_socket.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {

Reply on_ioctl(Call& call) {
  if (call.services.network == nullptr) return RunInKernel{};
  const auto socket = call.guest.fetch(call.fd());
  if (!socket || !local::identify(socket->get(), call.services.network->private_cookie()))
    return RunInKernel{};
  if (!call.guest.waiting()) return Fail{EINTR};
  if (!call.guest.write(GuestPtr<int>{call.args[2]}, 0)) return Fail{EFAULT};
  return Return{0};
}

}  // namespace shunt::sandbox
