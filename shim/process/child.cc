// vfork(2): the child borrows our memory until execve, so it may only make system calls and write
// to its own stack. Its descriptor table and signal dispositions are copies, ours stay as they are.
#include "shim/process/child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "netstack/base/unique_fd.h"
#include "shim/files.h"

namespace shunt {
namespace {

std::optional<rlimit> g_file_limit;  // what children get, once ours differs

std::optional<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = ::getenv("PATH");
  std::string rest =
      path != nullptr ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const std::string candidate = rest.substr(0, colon) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return std::nullopt;
}

// `failure` is set through the borrowed memory: why the child could not become the program. Not
// inlined: g++ sees that this never returns and drops the store from an inlined copy.
[[noreturn, gnu::noinline]] void become(const char* program, char* const* argv, char* const* envp,
                                        const std::pair<int, int>* moves, std::size_t count,
                                        pid_t parent, bool dies_with_us, volatile int* failure) {
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (dies_with_us) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);  // the parent died before the line above
  }
  ::setpgid(0, 0);
  if (g_file_limit) ::setrlimit(RLIMIT_NOFILE, &*g_file_limit);
  // Also what we inherited ourselves without the flag; dup2 below makes open again what is wanted.
  ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  // Sources were moved above every target by the caller, so no dup2 overwrites a later source.
  for (std::size_t i = 0; i < count; ++i)
    if (::dup2(moves[i].first, moves[i].second) < 0) ::_exit((*failure = errno, 127));
  ::execve(program, argv, envp);
  *failure = errno;
  ::_exit(127);
}

}  // namespace

void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max) return;
  g_file_limit = limit;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<pid_t> start_child(const ChildSpec& spec) {
  const auto program = find_program(spec.argv.front());
  if (!program) return Error{ENOENT, "execve"};

  std::vector<char*> argv;
  for (const auto& argument : spec.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> envp;
  if (spec.environment.empty()) {
    for (char** entry = environ; *entry != nullptr; ++entry)
      if (std::strncmp(*entry, "NOTIFY_SOCKET=", 14) != 0) envp.push_back(*entry);
  } else {
    for (const auto& entry : spec.environment) envp.push_back(const_cast<char*>(entry.c_str()));
  }
  envp.push_back(nullptr);

  // Every source is first duplicated above every target; the copies close on exec, the targets do
  // not.
  int highest = 2;
  for (const auto& [ours, theirs] : spec.descriptors) highest = std::max(highest, theirs);
  const UniqueFd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  std::vector<std::pair<int, int>> wanted = spec.descriptors;
  for (int standard = 0; standard <= 2; ++standard) {
    const auto named = [&](const auto& entry) { return entry.second == standard; };
    if (std::none_of(wanted.begin(), wanted.end(), named))
      wanted.emplace_back(null.get(), standard);
  }
  std::vector<UniqueFd> copies;
  std::vector<std::pair<int, int>> moves;
  for (const auto& [ours, theirs] : wanted) {
    UniqueFd copy{::fcntl(ours, F_DUPFD_CLOEXEC, highest + 1)};
    if (!copy.valid()) return last_error("fcntl(F_DUPFD_CLOEXEC)");
    moves.emplace_back(copy.get(), theirs);
    copies.push_back(std::move(copy));
  }

  // Signals stay blocked across vfork: a handler of ours must not run on the borrowed memory.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t parent = ::getpid();
  volatile int failure = 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  const pid_t pid =
      ::vfork();  // NOLINT: measured: fork copies page tables on every exec of a probe
#pragma GCC diagnostic pop
  if (pid == 0)  // NOLINTNEXTLINE(clang-analyzer-unix.Vfork): it makes system calls only
    become(program->c_str(), argv.data(), envp.data(), moves.data(), moves.size(), parent,
           spec.dies_with_us, &failure);
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return Error{fork_error, "vfork"};
  if (failure != 0) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return Error{failure, "execve"};
  }
  return pid;
}

std::optional<std::string> output_of(std::vector<std::string> argv) {
  const UniqueFd output{::memfd_create("output", MFD_CLOEXEC)};
  ChildSpec child;
  child.argv = std::move(argv);
  child.descriptors = {{output.get(), 1}};
  const auto pid = start_child(child);
  if (!pid) return std::nullopt;
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  ::lseek(output.get(), 0, SEEK_SET);
  return read_descriptor(output.get(), 1 << 20);
}

}  // namespace shunt
