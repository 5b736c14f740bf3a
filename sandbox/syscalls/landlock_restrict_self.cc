// landlock_restrict_self(2): runs in the kernel. A program may so forbid itself TCP connections; a
// connect performed by the supervisor would not be subject to that, so from here on the container's
// connects are left to the kernel.

#include "sandbox/syscall_table.h"

namespace shunt::sandbox {

Reply on_landlock_restrict_self(Call& call) {
  call.container().plain = true;
  return RunInKernel{};
}

}  // namespace shunt::sandbox
