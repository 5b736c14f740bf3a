// The kernel's seccomp notifications: the only file with their ioctls.
//
// One NotifyFd per container process state that runc handed over (one for the container, one for
// each exec). receive() is called by one thread; everything else by any.
#pragma once

#include <linux/seccomp.h>

#include <cstdint>
#include <vector>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::sandbox {

/// The kernel, as far as it is needed here: three methods, so that tests can be one.
class NotifyKernel {
 public:
  virtual ~NotifyKernel() = default;
  virtual Status sizes(seccomp_notif_sizes& sizes) = 0;
  /// 0, or an errno.
  virtual int receive(int fd, void* notification) = 0;
  /// SEND, ADDFD, ID_VALID, SET_FLAGS: what ioctl(2) returns, or minus an errno.
  virtual int control(int fd, unsigned long request, void* argument) = 0;

  static NotifyKernel& real();
};

class NotifyFd {
 public:
  /// Asks the kernel for the sizes of its structs and for synchronous wake-ups (Linux 6.6): with
  /// them the answered thread runs where the supervisor was, without crossing CPUs.
  static Result<NotifyFd> adopt(UniqueFd fd, NotifyKernel& kernel = NotifyKernel::real());

  /// The next trapped call; blocks. ENOENT: it vanished, or (Linux 6.11) nobody uses the filter any
  /// more. EINTR: a signal.
  Result<seccomp_notif> receive();

  /// Whether the caller still waits for an answer to `id`.
  bool waiting(std::uint64_t id) const;

  // Each of these: ENOENT if the caller is gone, was interrupted, or was answered already.
  Status send_value(std::uint64_t id, std::int64_t value) const;
  Status send_error(std::uint64_t id, int number) const;
  Status run_in_kernel(std::uint64_t id) const;
  /// Installs a duplicate of `fd` under the lowest free number, which the call returns.
  Status install(std::uint64_t id, int fd, bool close_on_exec) const;
  /// Puts a duplicate of `fd` under `number`, as dup2(2); the call is not answered yet.
  Status replace(std::uint64_t id, int fd, int number, bool close_on_exec) const;

  int get() const { return fd_.get(); }
  bool synchronous() const { return synchronous_; }

 private:
  NotifyFd(UniqueFd fd, NotifyKernel& kernel) : fd_{std::move(fd)}, kernel_{&kernel} {}
  int control(unsigned long request, void* argument) const;
  Status respond(const seccomp_notif_resp& response) const;

  UniqueFd fd_;
  NotifyKernel* kernel_;
  std::vector<std::byte> notification_;  // as large as this kernel's struct
  std::size_t response_size_ = sizeof(seccomp_notif_resp);
  bool synchronous_ = false;
};

}  // namespace shunt::sandbox
