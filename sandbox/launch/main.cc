// shunt-launch: runs a command under the filter and the supervisor, without containerd.
//
//   shunt-launch [--pod NAME] [--netns NAME] [--state DIR] [--pair unix|tcp] [--no-upgrade]
//                [--no-loopback] [--fabrics LIST] [--node-address ADDRESS] [--window DIR]
//                [--window-memory BYTES] [--verbs-memory BYTES] [--wait MILLISECONDS]
//                [--silence MILLISECONDS] [--key FILE] [--short-lived] [--privileged] [--stats]
//                [--debug] -- COMMAND [ARG...]
//
// For tests and for comparing a program with and without supervision. Pods started with the same
// --state are pods of one node. Without --netns a fresh namespace with only loopback is used.
// The namespace it is started in is the node's. --fabrics is fabrics.enabled, separated by commas;
// none without it. Like a container, the command may not get CAP_NET_ADMIN, unless --privileged.
// --short-lived is upgrade.short_lived: upgrade, so that all connections are.
// --stats prints on standard error at the end how calls and connections went, one per line.
// Exits as the command does.

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/base/unix_socket.h"
#include "sandbox/supervisor.h"
#include "sandbox/syscall_table.h"

using namespace shunt;

namespace {

struct Options {
  std::string pod = "pod";
  std::string netns;
  bool privileged = false;
  sandbox::SupervisorOptions supervisor;
  bool stats = false;
  char** command = nullptr;
};

[[noreturn]] void usage() {
  ::fputs(
      "usage: shunt-launch [--pod NAME] [--netns NAME] [--state DIR] [--pair unix|tcp]\n"
      "                    [--no-upgrade] [--no-loopback] [--fabrics LIST]\n"
      "                    [--node-address ADDRESS] [--window DIR] [--window-memory BYTES]\n"
      "                    [--verbs-memory BYTES] [--wait MILLISECONDS]\n"
      "                    [--silence MILLISECONDS] [--key FILE] [--short-lived]\n"
      "                    [--privileged] [--stats] [--debug] -- COMMAND [ARG...]\n",
      stderr);
  ::exit(125);
}

[[noreturn]] void fail(const char* what) {
  ::fprintf(stderr, "shunt-launch: %s: %s\n", what, ::strerror(errno));
  ::_exit(125);
}

std::vector<config::FabricName> parse_fabrics(const std::string& list) {
  std::vector<config::FabricName> names;
  std::istringstream words{list};
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "host") {
      names.push_back(config::FabricName::kHost);
    } else if (word == "window") {
      names.push_back(config::FabricName::kWindow);
    } else if (word == "verbs") {
      names.push_back(config::FabricName::kVerbs);
    } else {
      usage();
    }
  }
  return names;
}

Options parse(char** argv) {
  Options options;
  options.supervisor.fabrics.enabled.clear();
  const auto value = [&] {
    if (argv[1] == nullptr) usage();
    return std::string{*++argv};
  };
  while (*++argv != nullptr) {
    const std::string_view word{*argv};
    if (word == "--") {
      ++argv;
      break;
    }
    if (word == "--pod") {
      options.pod = value();
    } else if (word == "--netns") {
      options.netns = value();
    } else if (word == "--state") {
      options.supervisor.state_directory = value();
    } else if (word == "--pair") {
      options.supervisor.upgrade.pair = value() == "tcp" ? config::Pair::kTcp : config::Pair::kUnix;
    } else if (word == "--no-upgrade") {
      options.supervisor.upgrade.enabled = false;
    } else if (word == "--no-loopback") {
      options.supervisor.upgrade.loopback = false;
    } else if (word == "--fabrics") {
      options.supervisor.fabrics.enabled = parse_fabrics(value());
    } else if (word == "--node-address") {
      options.supervisor.fabrics.host.address = value();
    } else if (word == "--window") {
      options.supervisor.fabrics.window.directory = value();
    } else if (word == "--window-memory") {
      options.supervisor.fabrics.window.memory = ::strtoull(value().c_str(), nullptr, 10);
    } else if (word == "--verbs-memory") {
      options.supervisor.fabrics.verbs.memory = ::strtoull(value().c_str(), nullptr, 10);
    } else if (word == "--wait") {
      options.supervisor.fabrics.wait =
          config::Milliseconds{::strtol(value().c_str(), nullptr, 10)};
    } else if (word == "--silence") {
      options.supervisor.fabrics.silence =
          config::Milliseconds{::strtol(value().c_str(), nullptr, 10)};
    } else if (word == "--key") {
      options.supervisor.fabrics.key_file = value();
    } else if (word == "--short-lived") {
      options.supervisor.upgrade.short_lived = config::ShortLived::kUpgrade;
    } else if (word == "--privileged") {
      options.privileged = true;
    } else if (word == "--stats") {
      options.stats = true;
    } else if (word == "--debug") {
      log::set_level(log::Level::kDebug);
    } else if (word.starts_with("-")) {
      usage();
    } else {
      break;
    }
  }
  if (*argv == nullptr) usage();
  options.command = argv;
  options.supervisor.pod_id = options.pod;
  return options;
}

void enter_netns(const std::string& name) {
  if (!name.empty()) {
    const std::string path = name.find('/') == std::string::npos ? "/run/netns/" + name : name;
    const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd.valid() || ::setns(fd.get(), CLONE_NEWNET) < 0) fail(path.c_str());
    return;
  }
  if (::unshare(CLONE_NEWNET) < 0) fail("unshare");
  const UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ifreq request{};
  ::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) fail("lo up");
}

/// The filter a runtime would make of the traps, loaded; returns its notify descriptor.
int load_filter(const std::vector<sandbox::Trap>& traps) {
  scmp_filter_ctx filter = ::seccomp_init(SCMP_ACT_ALLOW);
  if (filter == nullptr) fail("seccomp_init");
  // 32-bit calls are not looked at, as in the profiles of container runtimes.
  if (::seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW) < 0) fail("seccomp_attr");
  for (const sandbox::Trap& trap : traps) {
    const int number = ::seccomp_syscall_resolve_name(std::string{trap.name}.c_str());
    const std::uint32_t action =
        trap.action == sandbox::TrapAction::kNotify ? SCMP_ACT_NOTIFY : SCMP_ACT_ERRNO(ENOSYS);
    if (trap.when.empty()) {
      if (::seccomp_rule_add(filter, action, number, 0) < 0) fail("seccomp_rule_add");
      continue;
    }
    for (const auto& set : trap.when) {
      std::vector<scmp_arg_cmp> tests;
      for (const sandbox::ArgTest& test : set)
        tests.push_back({test.index, SCMP_CMP_MASKED_EQ, 0xffffffff, test.value});
      if (::seccomp_rule_add_array(filter, action, number, static_cast<unsigned>(tests.size()),
                                   tests.data()) < 0)
        fail("seccomp_rule_add");
    }
  }
  // As Debian's runc would: the flags are libseccomp's, WAIT_KILLABLE_RECV is not among them.
  if (::seccomp_load(filter) < 0) fail("seccomp_load");
  const int fd = ::seccomp_notify_fd(filter);
  if (fd < 0) fail("seccomp_notify_fd");
  return fd;
}

void print(const sandbox::Snapshot& snapshot) {
  if (!snapshot.upgrading) ::fprintf(stderr, "not upgrading: %s\n", snapshot.why_not.c_str());
  for (const auto& call : snapshot.calls)
    for (std::size_t i = 0; i < call.endings.size(); ++i)
      if (call.endings[i] != 0)
        ::fprintf(stderr, "%s %s %llu\n", call.name.c_str(),
                  std::string{sandbox::name(static_cast<sandbox::Ending>(i))}.c_str(),
                  static_cast<unsigned long long>(call.endings[i]));
  for (std::size_t i = 0; i < snapshot.paths.size(); ++i)
    if (snapshot.paths[i] != 0)
      ::fprintf(stderr, "path %s %llu\n",
                std::string{sandbox::name(static_cast<sandbox::Path>(i))}.c_str(),
                static_cast<unsigned long long>(snapshot.paths[i]));
  for (const auto& connection : snapshot.connections)
    ::fprintf(stderr, "connection %s %s %s %s %s\n", connection.outgoing ? "to" : "from",
              to_text(connection.local).c_str(), to_text(connection.remote).c_str(),
              std::string{connection.fabric}.c_str(), snapshot.pods[connection.peer_pod].c_str());
  if (!snapshot.remote) {
    ::fprintf(stderr, "not across nodes: %s\n", snapshot.why_not_remote.c_str());
    return;
  }
  for (const auto& fabric : snapshot.remote->fabrics)
    ::fprintf(stderr, "fabric %s %s\n", fabric.name.c_str(),
              fabric.offered ? "offered" : fabric.why.c_str());
  for (const control::PeerView& peer : snapshot.remote->peers.peers) {
    ::fprintf(stderr, "peer %s %s %s offered %llu accepted %llu refused %llu\n",
              to_text(peer.address).c_str(), peer.phase.c_str(), peer.why.c_str(),
              static_cast<unsigned long long>(peer.offered),
              static_cast<unsigned long long>(peer.accepted),
              static_cast<unsigned long long>(peer.refused));
    for (const auto& fabric : peer.fabrics) {
      ::fprintf(stderr, "  %s %s %s", std::string{fabric::name(fabric.kind)}.c_str(),
                fabric.state.c_str(), fabric.why.c_str());
      if (fabric.link)
        for (const auto& [name, count] : fabric.link->counters)
          ::fprintf(stderr, " %s=%llu", name.c_str(), static_cast<unsigned long long>(count));
      ::fputs("\n", stderr);
    }
  }
}

pid_t g_child = -1;

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) usage();
  log::set_level(log::Level::kWarn);
  Options options = parse(argv);
  log::open(STDERR_FILENO);

  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) fail("socketpair");
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    ::close(ends[0]);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    enter_netns(options.netns);
    if (!options.privileged) ::prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0);
    if (options.supervisor.upgrade.enabled) {
      const int notify = load_filter(sandbox::traps(options.supervisor.upgrade));
      if (!send_descriptor(ends[1], notify)) fail("sendmsg");
      ::close(notify);
    } else {
      char none = 0;
      if (::write(ends[1], &none, 1) != 1) fail("write");
    }
    char go = 0;
    if (::read(ends[1], &go, 1) != 1) ::_exit(125);
    ::execvp(options.command[0], options.command);
    ::fprintf(stderr, "shunt-launch: %s: %s\n", options.command[0], ::strerror(errno));
    ::_exit(127);
  }
  ::close(ends[1]);
  const UniqueFd channel{ends[0]};
  g_child = child;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP})
    ::signal(signal, [](int number) { ::kill(g_child, number); });

  auto notify = receive_descriptor(channel.get());  // none without upgrades
  auto supervisor = sandbox::Supervisor::start(options.supervisor);
  if (!supervisor) fail("supervisor");
  if (notify) {
    if (const Status added =
            (*supervisor)->add(std::move(*notify), options.pod, child, /*exec=*/false);
        !added) {
      ::fprintf(stderr, "shunt-launch: %s\n", describe(added.error()).c_str());
      ::kill(child, SIGKILL);
    }
  }
  if (::write(channel.get(), "g", 1) != 1) ::kill(child, SIGKILL);

  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (options.stats) print((*supervisor)->snapshot());
  supervisor = std::unique_ptr<sandbox::Supervisor>{};
  if (WIFSIGNALED(status)) {
    ::signal(WTERMSIG(status), SIG_DFL);
    ::raise(WTERMSIG(status));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
