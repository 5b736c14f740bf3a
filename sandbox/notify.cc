#include "sandbox/notify.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS  // Linux 6.6
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

namespace shunt::sandbox {
namespace {

class RealKernel final : public NotifyKernel {
 public:
  Status sizes(seccomp_notif_sizes& sizes) override {
    if (::syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
      return last_error("SECCOMP_GET_NOTIF_SIZES");
    return Done{};
  }
  int receive(int fd, void* notification) override {
    return ::ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, notification) < 0 ? errno : 0;
  }
  int control(int fd, unsigned long request, void* argument) override {
    const int result = ::ioctl(fd, request, argument);
    return result < 0 ? -errno : result;
  }
};

}  // namespace

NotifyKernel& NotifyKernel::real() {
  static RealKernel kernel;
  return kernel;
}

Result<NotifyFd> NotifyFd::adopt(UniqueFd fd, NotifyKernel& kernel) {
  NotifyFd notify{std::move(fd), kernel};
  seccomp_notif_sizes sizes{};
  if (Status asked = kernel.sizes(sizes); !asked) return asked.error();
  notify.notification_.resize(std::max<std::size_t>(sizes.seccomp_notif, sizeof(seccomp_notif)));
  notify.response_size_ =
      std::max<std::size_t>(sizes.seccomp_notif_resp, sizeof(seccomp_notif_resp));
  notify.synchronous_ =
      notify.control(SECCOMP_IOCTL_NOTIF_SET_FLAGS,
                     reinterpret_cast<void*>(SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)) >= 0;
  return notify;
}

Result<seccomp_notif> NotifyFd::receive() {
  std::fill(notification_.begin(), notification_.end(), std::byte{0});  // the kernel insists
  if (const int error = kernel_->receive(get(), notification_.data()); error != 0)
    return Error{error, "SECCOMP_IOCTL_NOTIF_RECV"};
  seccomp_notif result{};
  std::memcpy(&result, notification_.data(), sizeof result);
  return result;
}

// The descriptor's lock is waited for interruptibly: by a signal, or work for a ring of this
// thread. Nothing has happened then; an answer that was not given would leave its caller waiting
// for ever.
int NotifyFd::control(unsigned long request, void* argument) const {
  for (;;)
    if (const int result = kernel_->control(get(), request, argument); result != -EINTR)
      return result;
}

bool NotifyFd::waiting(std::uint64_t id) const {
  return control(SECCOMP_IOCTL_NOTIF_ID_VALID, &id) >= 0;
}

Status NotifyFd::respond(const seccomp_notif_resp& response) const {
  int result = 0;
  if (response_size_ == sizeof response) {
    seccomp_notif_resp copy = response;
    result = control(SECCOMP_IOCTL_NOTIF_SEND, &copy);
  } else {  // a newer kernel: what it added is zero
    std::vector<std::byte> padded(response_size_);
    std::memcpy(padded.data(), &response, sizeof response);
    result = control(SECCOMP_IOCTL_NOTIF_SEND, padded.data());
  }
  if (result < 0) return Error{-result, "SECCOMP_IOCTL_NOTIF_SEND"};
  return Done{};
}

Status NotifyFd::send_value(std::uint64_t id, std::int64_t value) const {
  return respond({id, value, 0, 0});
}

Status NotifyFd::send_error(std::uint64_t id, int number) const {
  return respond({id, 0, -number, 0});
}

Status NotifyFd::run_in_kernel(std::uint64_t id) const {
  return respond({id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE});
}

Status NotifyFd::install(std::uint64_t id, int fd, bool close_on_exec) const {
  seccomp_notif_addfd request{};
  request.id = id;
  request.flags = SECCOMP_ADDFD_FLAG_SEND;
  request.srcfd = static_cast<__u32>(fd);
  request.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  const int result = control(SECCOMP_IOCTL_NOTIF_ADDFD, &request);
  if (result < 0) return Error{-result, "SECCOMP_IOCTL_NOTIF_ADDFD"};
  return Done{};
}

Status NotifyFd::replace(std::uint64_t id, int fd, int number, bool close_on_exec) const {
  seccomp_notif_addfd request{};
  request.id = id;
  request.flags = SECCOMP_ADDFD_FLAG_SETFD;
  request.srcfd = static_cast<__u32>(fd);
  request.newfd = static_cast<__u32>(number);
  request.newfd_flags = close_on_exec ? O_CLOEXEC : 0;
  const int result = control(SECCOMP_IOCTL_NOTIF_ADDFD, &request);
  if (result < 0) return Error{-result, "SECCOMP_IOCTL_NOTIF_ADDFD"};
  return Done{};
}

}  // namespace shunt::sandbox
