// start: one shim per pod. Binds the pod's socket, starts the daemon on it, prints the address,
// leaves.
//
// The daemon inherits the listening socket, so containerd can connect as soon as it has the
// address. Nothing but the address may go to stdout or, on success, stderr: containerd reads both
// as one, until both are closed.
#include "shim/start.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "config/load.h"
#include "shim/bootstrap.h"
#include "shim/files.h"
#include "shim/oci/spec.h"
#include "shim/process/child.h"
#include "shim/runtime_options.h"
#include "shim/socket.h"

namespace shunt {
namespace {

int fail(const std::string& why) {
  // Without a newline: containerd puts it into the middle of its own sentence.
  std::fprintf(stderr, "containerd-shim-shunt-v2: %s", why.c_str());
  return 1;
}

// Ours is containerd's plus one, as its own shim does it: containerd should outlive us. Lowering
// needs CAP_SYS_RESOURCE, which may be missing in a user namespace; then the inherited score stays.
void adjust_oom_score(pid_t daemon) {
  const long parent =
      read_number("/proc/" + std::to_string(::getppid()) + "/oom_score_adj").value_or(0);
  const std::string score = std::to_string(std::min(parent + 1, 1000L));
  const UniqueFd fd{
      ::open(("/proc/" + std::to_string(daemon) + "/oom_score_adj").c_str(), O_WRONLY | O_CLOEXEC)};
  if (fd.valid()) write_all(fd.get(), score);
}

Result<Done, std::string> join_cgroup(pid_t daemon, const std::string& path) {
  if (path.find("..") != std::string::npos)
    return "shim_cgroup " + path + " must not contain \"..\"";
  const bool unified = ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
  bool joined = false;
  for (const char* controller : {"", "cpu", "cpuacct", "memory", "pids", "blkio"}) {
    if (unified != (*controller == '\0')) continue;
    const std::string folder =
        std::string{"/sys/fs/cgroup"} + (unified ? "" : "/") + controller + "/" + path;
    if (!unified && ::access((std::string{"/sys/fs/cgroup/"} + controller).c_str(), F_OK) < 0)
      continue;
    if (!make_directories(folder, 0755)) continue;
    const UniqueFd fd{::open((folder + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC)};
    joined |= fd.valid() && write_all(fd.get(), std::to_string(daemon));
  }
  if (!joined) return "cannot move the shim into cgroup " + path + " (option shim_cgroup)";
  return Done{};
}

}  // namespace

int run_start(const CommandLine& line) {
  if (!oci::is_safe_id(line.id)) return fail("-id \"" + line.id + "\" is not a container id");
  if (line.containerd_namespace.empty()) return fail("-namespace is missing");
  const Bootstrap request = read_bootstrap(line, read_descriptor(STDIN_FILENO, 4 << 20));
  const RuntimeOptions options = read_runtime_options(request.options_type, request.options_value);
  // Read here to refuse a bad file before anything runs; the daemon reads it again for itself.
  const auto config =
      options.config_path.empty() ? config::load_default() : config::load_file(options.config_path);
  if (!config) return fail(config.error());

  // containerd 2.3 may start a sandbox without a config.json: then the shim is the container's own.
  const auto spec = oci::summarize_spec(read_file("config.json", 16 << 20).value_or(""));
  const std::string group = spec ? spec->group(line.id) : line.id;
  const std::string path =
      socket_path(line.address, line.containerd_namespace, group, request.socket_dir);
  const std::string address = "unix://" + path;
  auto socket = claim_socket(path);
  if (!socket) return fail("cannot listen on " + path + ": " + describe(socket.error()));
  // The bundle keeps the address for a restarted containerd (1.6 and 1.7 need it).
  if (const Status written = write_file_atomically("address", address, 0600); !written)
    return fail("cannot write the bundle's address file: " + describe(written.error()));

  if (socket->listener.valid()) {
    ChildSpec daemon;
    std::string self(4096, '\0');
    const ssize_t length = ::readlink("/proc/self/exe", self.data(), self.size());
    self.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    daemon.argv = {self,       "-namespace", line.containerd_namespace, "-id", line.id,
                   "-address", line.address};
    if (!options.config_path.empty())
      daemon.argv.insert(daemon.argv.end(), {"-config", options.config_path});
    if (request.debug) daemon.argv.emplace_back("-debug");
    daemon.descriptors = {{socket->listener.get(), 3}};
    daemon.dies_with_us = false;
    const char* sched_core = ::getenv("SCHED_CORE");
    // A core scheduling cookie for our process group: hyper-threads are then shared within the pod
    // only.
    if (sched_core != nullptr && *sched_core != '\0' &&
        ::prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, 2, 0) < 0) {
      ::unlink(path.c_str());
      return fail("enable sched core support: " + describe(last_error("prctl(PR_SCHED_CORE)")));
    }
    const auto pid = start_child(daemon);
    if (!pid) {
      ::unlink(path.c_str());
      return fail("cannot start the shim: " + describe(pid.error()));
    }
    adjust_oom_score(*pid);
    if (!options.shim_cgroup.empty()) {
      if (const auto joined = join_cgroup(*pid, options.shim_cgroup); !joined) {
        ::kill(*pid, SIGKILL);
        ::unlink(path.c_str());
        return fail(joined.error());
      }
    }
  }
  const std::string answer = write_bootstrap(request, address);
  return write_all(STDOUT_FILENO, answer) ? 0 : 1;
}

}  // namespace shunt
