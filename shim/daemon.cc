// The shim itself: one process per pod, one event loop. The composition root: every
// object is built here by hand.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "config/load.h"
#include "netstack/base/log.h"
#include "sandbox/supervisor.h"
#include "shim/events.h"
#include "shim/files.h"
#include "shim/inspect/document.h"
#include "shim/inspect/server.h"
#include "shim/privilege.h"
#include "shim/process/child.h"
#include "shim/process/reaper.h"
#include "shim/start.h"
#include "shim/task/service.h"
#include "shim/ttrpc/server.h"

namespace shunt {
namespace {

constexpr int kListener = 3;

std::string bound_path(int fd) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0 ||
      address.sun_family != AF_UNIX)
    return {};
  return address.sun_path;
}

std::string containerd_ttrpc_address(const CommandLine& line) {
  const char* given = ::getenv("TTRPC_ADDRESS");
  return given != nullptr && *given != '\0' ? given : line.address + ".ttrpc";
}

// SIGTERM and SIGINT end the shim in order; SIGUSR1 writes a line about its state to the log.
class Signals {
 public:
  Signals(EventLoop& loop, std::function<void()> on_end, std::function<void()> on_report) {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&set, signal);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    fd_ = UniqueFd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    static_cast<void>(loop.watch(
        fd_.get(), EPOLLIN,
        [this, on_end = std::move(on_end), on_report = std::move(on_report)](std::uint32_t) {
          signalfd_siginfo info{};
          while (::read(fd_.get(), &info, sizeof info) == sizeof info)
            (info.ssi_signo == SIGUSR1 ? on_report : on_end)();
        }));
  }

 private:
  UniqueFd fd_;
};

}  // namespace

int run_daemon(const CommandLine& line) {
  ::mallopt(M_ARENA_MAX, 1);
  // Whatever is large goes back to the kernel when it is freed. Otherwise malloc would find from
  // the first answer to `inspect` that the next one should be kept.
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  raise_file_limit();
  UniqueFd listener{kListener};
  const std::string socket = bound_path(listener.get());
  if (socket.empty()) {
    std::fprintf(
        stderr,
        "containerd-shim-shunt-v2: containerd starts this, with the action \"start\" first; "
        "people use the command shunt, which is the same file under that name\n");
    return 1;
  }
  ::fcntl(listener.get(), F_SETFD, FD_CLOEXEC);
  // Reading and writing at once: opening never blocks, and a containerd that is away is no EPIPE.
  const UniqueFd log_fifo{::open("log", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
  if (log_fifo.valid()) log::open(log_fifo.get());

  const auto config =
      line.config_path.empty() ? config::load_default() : config::load_file(line.config_path);
  if (!config) {
    log::error("shim", "{}", config.error());
    return 1;
  }
  log::set_level(line.debug ? std::min(config->log.level, log::Level::kDebug) : config->log.level);
  if (const Status dropped = drop_privileges(); !dropped) {
    log::error("shim", "cannot drop capabilities: {}", describe(dropped.error()));
    return 1;
  }

  EventLoop loop;
  Reaper reaper{loop};
  Events events{loop, containerd_ttrpc_address(line), line.containerd_namespace,
                config->events.queue};
  std::optional<ttrpc::Server> server;
  int patience = 50;  // turns of 100 ms for answers and events to leave before we do
  std::function<void()> leave = [&] {
    if ((events.empty() && server->flushed()) || --patience == 0) return loop.stop();
    loop.after(std::chrono::milliseconds{events.empty() ? 1 : 100}, leave);
  };
  const auto end = [&] {
    // From here on a `start` for this pod makes a new shim instead of finding one that is leaving.
    ::unlink(socket.c_str());
    leave();
  };
  const auto spec = oci::summarize_spec(read_file("config.json", 16 << 20).value_or(""));
  const PodIdentity pod = identify_pod(line.id, spec.value_or(oci::SpecSummary{}));
  const std::string inspect_path = inspect_socket(config->state, pod.id);
  // Started with the first descriptor: a pod whose containers are not supervised pays nothing.
  std::unique_ptr<sandbox::Supervisor> supervisor;
  Supervision supervision{
      loop, *config, [&](sandbox::ReceivedListener received) {
        if (!supervisor) {
          auto started =
              sandbox::Supervisor::start({pod.id, config->state, config->upgrade, config->fabrics});
          if (!started) return log::error("shim", "no supervisor: {}", describe(started.error()));
          supervisor = std::move(*started);
        }
        const bool exec = received.state.status == "running";
        const Status added = supervisor->add(std::move(received.notify),
                                             received.state.container_id, received.state.pid, exec,
                                             supervision.pair(received.state.container_id));
        if (!added)
          log::error("shim", "{} is not supervised: {}", received.state.container_id,
                     describe(added.error()));
      }};
  task::Service service{
      loop, reaper, events, {line.containerd_namespace, *config, inspect_path, &supervision, end}};
  InspectServer inspect{
      loop,
      {[&] { return inspect_head(pod, service, supervision); },
       [&] { return inspect_document(pod, service, supervision, supervisor.get()); }}};
  if (const Status listening = inspect.listen(inspect_path); !listening)
    log::warn("shim", "shunt inspect will not see this pod: {}", describe(listening.error()));
  server.emplace(loop, std::move(listener), [&](ttrpc::Call call, ttrpc::Responder respond) {
    service.handle(std::move(call), std::move(respond));
  });
  const Signals signals{loop, end, [&] {
                          log::info("shim", "{} containers, {} clients, {} events dropped",
                                    service.containers().size(), server->connections(),
                                    events.dropped());
                        }};
  log::info("shim", "Shunt {} serves {} on {}", SHUNT_VERSION, line.id, socket);
  loop.run();
  log::info("shim", "shim of {} ends", line.id);
  return 0;
}

}  // namespace shunt
