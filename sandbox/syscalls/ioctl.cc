// ioctl(2), the requests that AF_UNIX lacks or answers otherwise.
//
//   anything but a fast socket             runs in the kernel
//   SIOCOUTQ, SIOCOUTQNSD                  0: on one node whatever was written has arrived
//   SIOCGIFADDR and its like               asked of a TCP socket of the pod's namespace
//   SIOCGSTAMP, SIOCGSTAMPNS               ENOENT: no packet was stamped

#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "sandbox/remote.h"
#include "sandbox/shadow.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {
namespace {

bool asks_for_device(std::uint32_t request) {
  return request == SIOCGIFADDR || request == SIOCGIFBRDADDR || request == SIOCGIFNETMASK ||
         request == SIOCGIFDSTADDR;
}

}  // namespace

Reply on_ioctl(Call& call) {
  auto on = subject_of(call);
  if (!on) return RunInKernel{};
  const auto request = static_cast<std::uint32_t>(call.args[1]);
  if (!on->fast && call.services.remote != nullptr && asks_for_device(request))
    on->fast = call.services.remote->host_socket(on->socket.get());  // the node has other devices
  if (!on->fast) return RunInKernel{};
  switch (request) {
    case SIOCOUTQ:
    case SIOCOUTQNSD:
      if (!call.guest.waiting()) return Fail{EINTR};
      if (!call.guest.write(GuestPtr<int>{call.args[2]}, 0)) return Fail{EFAULT};
      return Return{0};
    case SIOCGIFADDR:
    case SIOCGIFBRDADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFDSTADDR: {
      const GuestPtr<ifreq> at{call.args[2]};
      auto asked = call.guest.read(at);
      if (!asked) return Fail{EFAULT};
      const auto tcp = make_shadow(call, on->fast->family(), on->cookie);
      if (!tcp) return Fail{ENOBUFS};
      if (::ioctl(tcp->get(), request, &*asked) < 0) return Fail{errno};
      if (!call.guest.waiting()) return Fail{EINTR};
      if (!call.guest.write(at, *asked)) return Fail{EFAULT};
      return Return{0};
    }
    case SIOCGSTAMP_OLD:
    case SIOCGSTAMPNS_OLD:
      return Fail{ENOENT};
    default:
      return RunInKernel{};
  }
}

}  // namespace shunt::sandbox
