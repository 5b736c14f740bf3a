// Start: of the container's init (`runtime start`), or of a registered exec (`runtime exec`).
//
// The start event is published before any exit of the process, however short it lives: while Start
// is under way an exit waits in Process::early_exit.
#include <signal.h>
#include <unistd.h>

#include "netstack/base/log.h"
#include "shim/files.h"
#include "shim/stdio/console.h"
#include "shim/task/service.h"

namespace shunt::task {

Co<Answer<wire::StartResponse>> Service::start(wire::StartRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  const auto process = find_process(**container, request.exec_id());
  if (!process) co_return process.error();
  if ((*process)->state != State::kCreated || (*process)->starting)
    co_return ttrpc::unknown("cannot start a " + std::string{name_of((*process)->state)} +
                             " process");
  if ((*process)->is_init) co_return co_await start_init(*container);
  co_return co_await start_exec(*container, *process);
}

Co<Answer<wire::StartResponse>> Service::start_init(ContainerPtr container) {
  const ProcessPtr init = container->init;
  init->starting = true;
  const auto guard = co_await container->gate.enter();
  const oci::Outcome started = co_await container->runtime.start();
  if (!started.ok) {
    finish_start(container, init);
    co_return ttrpc::unknown("OCI runtime start failed: " + started.message);
  }
  init->state = State::kRunning;
  wire::TaskStart event;
  event.set_container_id(container->id);
  event.set_pid(static_cast<std::uint32_t>(init->pid));
  events_.publish(event);
  finish_start(container, init);
  wire::StartResponse response;
  response.set_pid(static_cast<std::uint32_t>(init->pid));
  co_return response;
}

Co<Answer<wire::StartResponse>> Service::start_exec(ContainerPtr container, ProcessPtr process) {
  if (container->init->state == State::kStopped)
    co_return ttrpc::failed_precondition("container " + container->id +
                                         " init process is not running");
  process->starting = true;
  const Reaper::Hold hold{reaper_};
  const auto run = co_await run_exec(container, process);
  process->spec.clear();
  process->spec.shrink_to_fit();
  if (!run) {
    // Waiters must not hang, and Delete must work: the process counts as ended.
    process->starting = false;
    process->streams.close();
    if (process->pid > 0) ::kill(process->pid, SIGKILL);  // it runs, but nobody could talk to it
    on_exit(container, process, ChildExit{255, std::chrono::system_clock::now()});
    co_return ttrpc::unknown(run.error());
  }
  process->state = State::kRunning;
  wire::TaskExecStarted event;
  event.set_container_id(container->id);
  event.set_exec_id(process->id);
  event.set_pid(static_cast<std::uint32_t>(process->pid));
  events_.publish(event);
  watch_exit(container, process);
  finish_start(container, process);
  wire::StartResponse response;
  response.set_pid(static_cast<std::uint32_t>(process->pid));
  co_return response;
}

Co<Result<Done, std::string>> Service::run_exec(ContainerPtr container, ProcessPtr process) {
  const AttachAhead::Hold ahead{attach_ahead_};
  StreamNames names = process->streams.names();
  const LoggerIdentity identity{container->id, options_.containerd_namespace};
  const auto opened = co_await process->streams.open(names, identity);
  if (!opened) co_return "failed to create init process I/O: " + opened.error();
  std::optional<ConsoleSocket> console;
  if (names.terminal) {
    auto socket = ConsoleSocket::listen(options_.config.state + "/pty");
    if (!socket) co_return "failed to create runc console socket: " + describe(socket.error());
    console.emplace(std::move(*socket));
  }
  const std::string process_file = container->bundle + "/" + process->id + ".process.json";
  const std::string pid_file = container->bundle + "/" + process->id + ".pid";
  if (const Status written = write_file_atomically(process_file, process->spec, 0600); !written)
    co_return "cannot write " + process_file + ": " + describe(written.error());
  const std::string console_path = console ? console->path() : "";
  const oci::Outcome ran = co_await container->runtime.exec(
      process_file, process->streams.child_ends(), pid_file, console_path);
  ::unlink(process_file.c_str());
  const long pid = read_number(pid_file).value_or(0);
  ::unlink(pid_file.c_str());
  if (!ran.ok) co_return "OCI runtime exec failed: " + ran.message;
  if (pid <= 0) co_return std::string{"failed to retrieve OCI runtime exec pid"};
  process->pid = static_cast<pid_t>(pid);
  UniqueFd master;
  if (console) {
    auto received = co_await console->receive(loop_, std::chrono::seconds{30});
    if (!received) co_return "failed to retrieve console master: " + describe(received.error());
    master = std::move(*received);
  }
  const auto copying = process->streams.started(std::move(master));
  if (!copying) co_return "failed to start io pipe copy: " + copying.error();
  co_return Done{};
}

}  // namespace shunt::task
