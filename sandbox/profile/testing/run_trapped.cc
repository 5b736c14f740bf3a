// run_trapped COMMAND...: runs a command with every call trapped that the supervisor traps, and
// lets each of them run in the kernel. What a program does then is what trapping alone does to it.
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "sandbox/profile/testing/launch.h"
#include "sandbox/profile/testing/traps.h"

namespace {

void let_run(int notify) {
  seccomp_notif call{};
  if (::ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) return;  // the caller is gone
  seccomp_notif_resp response{};
  response.id = call.id;
  response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  ::ioctl(notify, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace shunt;
  if (argc < 2) {
    std::fprintf(stderr, "usage: run_trapped COMMAND...\n");
    return 2;
  }
  auto launched = sandbox::testing::launch(argv + 1, sandbox::testing::sample_traps());
  if (!launched) {
    std::fprintf(stderr, "run_trapped: %s\n", describe(launched.error()).c_str());
    return 125;
  }
  const UniqueFd process{static_cast<int>(::syscall(SYS_pidfd_open, launched->pid, 0))};
  std::array<pollfd, 2> watched{{{launched->notify.get(), POLLIN, 0}, {process.get(), POLLIN, 0}}};
  while ((watched[1].revents & POLLIN) == 0) {
    ::poll(watched.data(), watched.size(), -1);
    if ((watched[0].revents & POLLIN) != 0) let_run(launched->notify.get());
    if ((watched[0].revents & POLLHUP) != 0) watched[0].fd = -1;
  }
  int status = 0;
  ::waitpid(launched->pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
