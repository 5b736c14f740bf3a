// Delete: of a process that is not running: hand on its last output, then forget it; for the init
// also the runtime's state and the root filesystem.
#include <unistd.h>

#include "netstack/base/log.h"
#include "shim/mount.h"
#include "shim/task/service.h"

namespace shunt::task {
namespace {

constexpr std::size_t kRemembered = 64;

wire::DeleteResponse response_for(const Process& process) {
  wire::DeleteResponse response;
  response.set_pid(static_cast<std::uint32_t>(process.pid));
  if (process.exit) {
    response.set_exit_status(process.exit->status);
    *response.mutable_exited_at() = to_wire(process.exit->at);
  }
  return response;
}

}  // namespace

Co<Answer<wire::DeleteResponse>> Service::remove(wire::DeleteRequest request) {
  const auto found = find(request.id());
  if (!found) {
    for (const Deleted& deleted : deleted_)
      if (request.exec_id().empty() && deleted.id == request.id()) co_return deleted.answer;
    co_return found.error();
  }
  const ContainerPtr& container = *found;
  const auto named = find_process(*container, request.exec_id());
  if (!named) co_return named.error();
  const ProcessPtr& process = *named;
  if (process->starting || (process->state != State::kCreated && process->state != State::kStopped))
    co_return ttrpc::unknown(
        "cannot delete a " +
        std::string{name_of(process->starting ? State::kRunning : process->state)} + " process");

  if (!process->is_init) {
    co_await process->streams.drain(options_.config.stdio.drain_timeout);
    process->streams.close();
    container->execs.erase(process->id);
    co_return response_for(*process);
  }

  const auto guard = co_await container->gate.enter();
  if (!containers_.contains(container->id))
    co_return ttrpc::not_found("container not created");  // another Delete won
  if (process->state == State::kStopped)
    co_await process->streams.drain(options_.config.stdio.drain_timeout);
  const oci::Outcome removed =
      co_await container->runtime.remove(process->state == State::kCreated);
  if (!removed.ok && removed.message.find("does not exist") == std::string::npos)
    co_return ttrpc::unknown("failed to delete task: " + removed.message);
  if (process->state == State::kCreated) {
    // The runtime has killed it; its exit is on the way to us.
    const auto timer = loop_.after(std::chrono::seconds{2}, [exited = process->exited] {
      exited.set(ChildExit{137, std::chrono::system_clock::now()});
    });
    co_await process->exited.wait();
    loop_.forget(timer);
    reaper_.forget(process->pid);
  }
  co_await drain_and_unmount(container);
  containers_.erase(container->id);
  if (options_.supervision != nullptr) options_.supervision->forget(container->id);

  const wire::DeleteResponse response = response_for(*process);
  wire::TaskDelete event;
  event.set_container_id(container->id);
  event.set_pid(response.pid());
  event.set_exit_status(response.exit_status());
  *event.mutable_exited_at() = response.exited_at();
  events_.publish(event);
  deleted_.push_back({container->id, response});
  if (deleted_.size() > kRemembered) deleted_.pop_front();
  co_return response;
}

Co<void> Service::drain_and_unmount(ContainerPtr container) {
  container->oom.reset();
  container->init->streams.close();
  for (const auto& [id, exec] : container->execs) exec->streams.close();
  const std::string rootfs = container->bundle + "/rootfs";
  for (int tries = 0; tries < 50; ++tries) {
    const Status unmounted = unmount_all(rootfs, false);
    if (unmounted || unmounted.error().number != EBUSY) co_return;
    co_await loop_.sleep(std::chrono::milliseconds{20});
  }
  log::warn("task", "{} is still in use; it is detached and goes away with its last user", rootfs);
  static_cast<void>(unmount_all(rootfs, true));
}

}  // namespace shunt::task
