#include "sandbox/profile/testing/launch.h"

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "sandbox/profile/merge.h"
#include "sandbox/profile/testing/bpf.h"
#include "sandbox/profile/testing/compile.h"

namespace shunt::sandbox::testing {
namespace {

using Control = std::array<char, CMSG_SPACE(sizeof(int))>;

int send_descriptor(int socket, int fd) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  return ::sendmsg(socket, &message, 0) == 1 ? 0 : -1;
}

Result<UniqueFd> receive_descriptor(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return Error{EPROTO, "seccomp filter"};
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return Error{EPROTO, "recvmsg"};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd{fd};
}

[[noreturn]] void become(char* const* argv, const sock_fprog& program, int channel) {
  if (::geteuid() != 0) ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const long notify =
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (notify < 0 || send_descriptor(channel, static_cast<int>(notify)) != 0) ::_exit(126);
  ::close(static_cast<int>(notify));
  ::close(channel);
  ::execvp(argv[0], argv);
  ::_exit(127);
}

}  // namespace

Result<Launched> launch(char* const* argv, std::span<const Trap> traps) {
  Json config = {{"linux", Json::object()}};
  merge_traps(config, traps, {"/unused", ""});
  auto compiled = compile(config["linux"]["seccomp"]);
  auto* code = std::get_if<Program>(&compiled);
  if (code == nullptr || code->empty()) return Error{EINVAL, "seccomp profile"};
  const sock_fprog program{static_cast<unsigned short>(code->size()), code->data()};

  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return last_error("socketpair");
  const UniqueFd ours{ends[0]};
  UniqueFd theirs{ends[1]};
  const pid_t pid = ::fork();
  if (pid < 0) return last_error("fork");
  if (pid == 0) become(argv, program, theirs.get());
  theirs.reset();
  Result<UniqueFd> notify = receive_descriptor(ours.get());
  if (!notify) return notify.error();
  return Launched{pid, std::move(*notify)};
}

}  // namespace shunt::sandbox::testing
