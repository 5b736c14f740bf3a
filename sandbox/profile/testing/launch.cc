#include "sandbox/profile/testing/launch.h"

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include "netstack/base/unix_socket.h"
#include "sandbox/profile/merge.h"
#include "sandbox/profile/testing/bpf.h"
#include "sandbox/profile/testing/compile.h"

namespace shunt::sandbox::testing {
namespace {

[[noreturn]] void become(char* const* argv, const sock_fprog& program, int channel) {
  if (::geteuid() != 0) ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const long notify =
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (notify < 0 || !send_descriptor(channel, static_cast<int>(notify))) ::_exit(126);
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
