// From the kernel's report of an exit to TaskExit and the answers of Wait.
//
// Order promised to clients: a process's start before its exit, and the init's exit last of all in
// its container. With a PID namespace of its own the kernel sees to the latter (its init is reaped
// after all others); without one, what is left is killed first.
#include <signal.h>

#include "netstack/base/log.h"
#include "shim/task/service.h"

namespace shunt::task {

void Service::watch_exit(const ContainerPtr& container, const ProcessPtr& process) {
  reaper_.watch(process->pid,
                [this, container, process](ChildExit exit) { on_exit(container, process, exit); });
}

void Service::on_exit(const ContainerPtr& container, const ProcessPtr& process, ChildExit exit) {
  if (process->starting) {
    process->early_exit = exit;
    return;
  }
  if (process->exit) return;
  process->exit = exit;
  if (process->is_init) {
    spawn(kill_remaining(container, process));
  } else {
    publish_exit(container, process);
  }
}

void Service::finish_start(const ContainerPtr& container, const ProcessPtr& process) {
  process->starting = false;
  if (const auto exit = std::exchange(process->early_exit, std::nullopt))
    on_exit(container, process, *exit);
}

Co<void> Service::kill_remaining(ContainerPtr container, ProcessPtr init) {
  if (!container->private_pid_namespace) {
    const bool frozen = init->state == State::kPaused;
    const oci::Outcome killed = co_await container->runtime.kill(SIGKILL, true);
    if (!killed.ok)
      log::warn("task", "cannot kill what {} left running: {}", container->id, killed.message);
    if (frozen) co_await container->runtime.resume();  // frozen processes do not die
  }
  const auto execs = container->execs;  // the map may change while we wait
  for (const auto& [id, exec] : execs)
    if (exec->state == State::kRunning && !exec->exit) co_await exec->exited.wait();
  publish_exit(container, init);
}

void Service::publish_exit(const ContainerPtr& container, const ProcessPtr& process) {
  const bool ran = process->pid > 0;
  process->state = State::kStopped;
  if (ran) {
    wire::TaskExit event;
    event.set_container_id(container->id);
    event.set_id(process->id);
    event.set_pid(static_cast<std::uint32_t>(process->pid));
    event.set_exit_status(process->exit->status);
    *event.mutable_exited_at() = to_wire(process->exit->at);
    events_.publish(event);
  }
  process->exited.set(*process->exit);
}

}  // namespace shunt::task
