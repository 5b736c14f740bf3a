#include "shim/process/reaper.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include <array>

namespace shunt {

Reaper::Reaper(EventLoop& loop) : loop_{loop} {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signals_ = UniqueFd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  const auto token = loop_.watch(signals_.get(), EPOLLIN, [this](std::uint32_t) { collect(); });
  if (token) watch_ = *token;
}

Reaper::~Reaper() { loop_.forget(watch_); }

void Reaper::watch(pid_t pid, Callback callback) {
  if (const auto it = early_.find(pid); it != early_.end()) {
    // After this turn of the loop, so that the caller can first publish the start of what has
    // ended.
    loop_.post([callback = std::move(callback), exit = it->second] { callback(exit); });
    early_.erase(it);
    return;
  }
  children_[pid] = std::move(callback);
}

void Reaper::collect() {
  std::array<signalfd_siginfo, 16>
      seen;  // NOLINT: only drained; signals of one kind are merged anyway
  while (::read(signals_.get(), seen.data(), sizeof seen) > 0) {
  }
  int status = 0;
  for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0;
       pid = ::waitpid(-1, &status, WNOHANG)) {
    ChildExit exit;
    exit.at = std::chrono::system_clock::now();
    exit.status = static_cast<std::uint32_t>(WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                                                 : WEXITSTATUS(status));
    auto child = children_.extract(pid);
    if (!child.empty()) {
      child.mapped()(exit);
    } else if (holds_ > 0) {
      early_[pid] = exit;
    }
  }
}

Co<std::optional<ChildExit>> Reaper::wait(pid_t pid, std::chrono::nanoseconds timeout) {
  Once<std::optional<ChildExit>> ended;
  watch(pid, [ended](ChildExit exit) { ended.set(exit); });
  const auto timer = loop_.after(timeout, [ended] { ended.set(std::nullopt); });
  const std::optional<ChildExit> exit = co_await ended.wait();
  loop_.forget(timer);
  if (!exit) forget(pid);
  co_return exit;
}

}  // namespace shunt
