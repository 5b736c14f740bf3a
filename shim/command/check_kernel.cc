// Kernel features, each tried once. The seccomp probe installs a filter in a short-lived child, on
// a system call number that does not exist, so nothing of ours is ever caught by it.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "netstack/base/unique_fd.h"
#include "netstack/local/tcp_diag.h"
#include "shim/command/check.h"

// Newer than Debian 12's headers. Values: include/uapi/linux/seccomp.h, asm-generic/socket.h.
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

namespace shunt::command {
namespace {

struct SeccompFeatures {
  bool listener = false;
  bool add_fd = false;
  bool add_fd_send = false;
  bool sync_wake_up = false;
};

UniqueFd new_listener() {
  // One rule: a number no system call has asks the listener, all else is allowed.
  std::array<sock_filter, 4> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x7fff0000, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), program.data()};
  return UniqueFd{static_cast<int>(
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter))};
}

SeccompFeatures probe_in_child() {
  SeccompFeatures features;
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const UniqueFd listener = new_listener();
  features.listener = listener.valid();
  // No notification has this id: ENOENT says that everything else about the request was understood.
  seccomp_notif_addfd add{};
  add.id = 1;
  features.add_fd = ::ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 && errno == ENOENT;
  add.flags = SECCOMP_ADDFD_FLAG_SEND;
  features.add_fd_send =
      ::ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 && errno == ENOENT;
  features.sync_wake_up = ::ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_SET_FLAGS, 1UL) == 0;
  return features;
}

SeccompFeatures probe_seccomp() {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) < 0) return {};
  const UniqueFd read_end{ends[0]};
  UniqueFd write_end{ends[1]};
  const pid_t child = ::fork();
  if (child == 0) {
    const SeccompFeatures found = probe_in_child();
    ::_exit(::write(write_end.get(), &found, sizeof found) == sizeof found ? 0 : 1);
  }
  write_end.reset();
  SeccompFeatures features;
  const bool told = ::read(read_end.get(), &features, sizeof features) == sizeof features;
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return told ? features : SeccompFeatures{};
}

bool can_open(int family, int type, int protocol) {
  return UniqueFd{::socket(family, type | SOCK_CLOEXEC, protocol)}.valid();
}

bool has_pidfd_getfd() {
  const UniqueFd self{static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))};
  return UniqueFd{static_cast<int>(::syscall(SYS_pidfd_getfd, self.get(), 0, 0))}.valid() ||
         errno == EBADF;
}

bool has_pass_rights() {
  const UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int off = 0;
  return ::setsockopt(fd.get(), SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) == 0;
}

/// Asked of a connection that there is not.
bool can_reset_connections() {
  auto diag = local::TcpDiag::open();
  if (!diag) return false;
  const Endpoint nowhere{*parse_address("127.0.0.1"), 0};
  const Status done = diag->reset(nowhere, nowhere, 1);
  return done || done.error().number == ENOENT;
}

bool can_force_buffers() {
  const UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int size = 16 << 20;
  return ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0;
}

bool has_io_uring() {
  // Nonsense parameters: EFAULT or EINVAL mean that the call exists and is allowed.
  return ::syscall(SYS_io_uring_setup, 0, nullptr) < 0 && errno != ENOSYS && errno != EPERM;
}

Finding feature(std::string subject, bool found, Fitness otherwise, std::string effect) {
  return {std::move(subject), found ? Fitness::kOk : otherwise, found ? "yes" : "no",
          found ? "" : std::move(effect)};
}

}  // namespace

std::vector<Finding> check_kernel() {
  utsname system{};
  ::uname(&system);
  const SeccompFeatures seccomp = probe_seccomp();
  return {
      {"kernel", Fitness::kOk, std::string{system.release} + " " + system.machine, ""},
      feature("root", ::geteuid() == 0, Fitness::kMissing,
              "the shim runs as root; run this check as root as well"),
      feature("seccomp notifications", seccomp.listener, Fitness::kMissing,
              "no connection can be improved; needs Linux 5.0 with CONFIG_SECCOMP_FILTER"),
      feature("seccomp descriptor injection", seccomp.add_fd, Fitness::kMissing,
              "no socket can be replaced; needs Linux 5.9"),
      feature("seccomp injection with answer", seccomp.add_fd_send, Fitness::kMissing,
              "accept cannot be answered in one step; needs Linux 5.14"),
      feature("seccomp synchronous wake-up", seccomp.sync_wake_up, Fitness::kDegraded,
              "a trapped call may take 20 us instead of 2 us; needs Linux 6.6"),
      feature("pidfd_getfd", has_pidfd_getfd(), Fitness::kMissing,
              "no socket can be looked at; needs Linux 5.6"),
      feature("SO_PASSRIGHTS", has_pass_rights(), Fitness::kDegraded,
              "two pods joined by a unix pair could pass descriptors to each other; needs Linux "
              "6.16, or upgrade.pair: tcp"),
      feature("forced send buffers", can_force_buffers(), Fitness::kMissing,
              "peers that both write first could block; needs CAP_NET_ADMIN"),
      feature("io_uring for the supervisor", has_io_uring(), Fitness::kDegraded,
              "parked accepts use threads instead"),
      feature("socket diagnosis (inet_diag)", can_open(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG),
              Fitness::kDegraded, "closed listeners are noticed late; needs CONFIG_INET_DIAG"),
      feature("resets by others (SOCK_DESTROY)", can_reset_connections(), Fitness::kDegraded,
              "a server accepts up to 5 s late if its client's socket is under way in a message "
              "while it connects; needs CONFIG_INET_DIAG_DESTROY"),
      feature(
          "connection tracking (ctnetlink)", can_open(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER),
          Fitness::kDegraded,
          "connections to Service addresses stay on the kernel path; needs CONFIG_NF_CT_NETLINK"),
  };
}

}  // namespace shunt::command
