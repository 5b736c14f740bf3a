#include "netstack/base/pidfd.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL  // Linux 6.9
#endif

namespace shunt {

UniqueFd open_pidfd(pid_t tid) {
  UniqueFd fd{static_cast<int>(::syscall(SYS_pidfd_open, tid, PIDFD_THREAD))};
  if (fd.valid() || errno != EINVAL) return fd;
  return UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, tid, 0))};
}

}  // namespace shunt
