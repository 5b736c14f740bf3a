// Kill: a signal to one process, or to all of a container.
//
// A running init gets its signal from us directly, which is what `runc kill` does after starting up
// and checking the state that we know already. "all", a paused container and anything unusual go
// through the runtime. What has ended answers NotFound, which containerd and CRI treat as success.
#include <signal.h>

#include "shim/task/service.h"

namespace shunt::task {
namespace {

ttrpc::RpcError kill_error(const std::string& message) {
  const auto says = [&](const char* text) { return message.find(text) != std::string::npos; };
  if (says("process already finished") || says("container not running") || says("no such process"))
    return ttrpc::not_found("process already finished");
  if (says("does not exist")) return ttrpc::not_found("no such container");
  return ttrpc::unknown("unknown error after kill: " + message);
}

}  // namespace

Co<Answer<wire::Empty>> Service::kill(wire::KillRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  const auto found = find_process(**container, request.exec_id());
  if (!found) co_return found.error();
  const ProcessPtr& process = *found;
  const int signal = static_cast<int>(request.signal());
  if (signal < 0 || signal >= NSIG)
    co_return ttrpc::invalid_argument("signal " + std::to_string(request.signal()));

  if (!process->is_init) {
    if (process->pid == 0 && !process->exit)
      co_return ttrpc::failed_precondition("process not created");
    if (process->exit) co_return ttrpc::not_found("process already finished");
  } else if (process->exit && !request.all()) {
    co_return ttrpc::not_found("process already finished");
  } else if (request.all() || process->state == State::kPaused) {
    const oci::Outcome killed = co_await (*container)->runtime.kill(signal, request.all());
    if (!killed.ok) co_return kill_error(killed.message);
    co_return wire::Empty{};
  }
  // We are its reaper and have not reaped it, so the pid is still this process.
  if (::kill(process->pid, signal) < 0) {
    if (errno == ESRCH) co_return ttrpc::not_found("process already finished");
    co_return ttrpc::unknown("unknown error after kill: " + describe(last_error("kill")));
  }
  co_return wire::Empty{};
}

}  // namespace shunt::task
