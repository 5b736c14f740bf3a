// State, Pids, Stats, Connect, Wait: answered from memory or small kernel files, never by a child
// process.
#include <unistd.h>

#include "shim/proto/options.pb.h"
#include "shim/task/service.h"

namespace shunt::task {
namespace {

wire::ProcessStatus status_of(const Container& container, const Process& process) {
  if (process.state == State::kStopped) return wire::STOPPED;
  if (container.pausing) return wire::PAUSING;
  if (container.init->state == State::kPaused)
    return wire::PAUSED;  // an exec is frozen with its container
  return process.state == State::kCreated ? wire::CREATED : wire::RUNNING;
}

}  // namespace

Co<Answer<wire::StateResponse>> Service::state(wire::StateRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  const auto process = find_process(**container, request.exec_id());
  if (!process) co_return process.error();
  const StreamNames& names = (*process)->streams.names();
  wire::StateResponse response;
  response.set_id((*process)->id);
  response.set_bundle((*container)->bundle);
  response.set_pid(static_cast<std::uint32_t>((*process)->pid));
  response.set_status(status_of(**container, **process));
  response.set_stdin(names.in);
  response.set_stdout(names.out);
  response.set_stderr(names.err);
  response.set_terminal(names.terminal);
  response.set_exec_id(request.exec_id());
  if ((*process)->exit) {
    response.set_exit_status((*process)->exit->status);
    *response.mutable_exited_at() = to_wire((*process)->exit->at);
  }
  co_return response;
}

Co<Answer<wire::PidsResponse>> Service::pids(wire::PidsRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  wire::PidsResponse response;
  if (!(*container)->cgroup) co_return response;
  for (const pid_t pid : (*container)->cgroup->processes()) {
    wire::ProcessInfo& info = *response.add_processes();
    info.set_pid(static_cast<std::uint32_t>(pid));
    for (const auto& [id, exec] : (*container)->execs) {
      if (exec->pid != pid || exec->exit) continue;
      wire::ProcessDetails details;
      details.set_exec_id(id);
      info.mutable_info()->set_type_url("containerd.runc.v1.ProcessDetails");
      info.mutable_info()->set_value(details.SerializeAsString());
    }
  }
  co_return response;
}

Co<Answer<wire::StatsResponse>> Service::stats(wire::StatsRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  if (!(*container)->cgroup || !(*container)->cgroup->exists())
    co_return ttrpc::not_found("cgroup does not exist");
  Cgroup::Metrics metrics = (*container)->cgroup->metrics();
  wire::StatsResponse response;
  response.mutable_stats()->set_type_url(std::move(metrics.type_url));
  response.mutable_stats()->set_value(std::move(metrics.value));
  co_return response;
}

Co<Answer<wire::ConnectResponse>> Service::connect(wire::ConnectRequest request) {
  // Succeeds for an unknown container too: after a restart containerd asks this first, to see if we
  // live.
  wire::ConnectResponse response;
  response.set_shim_pid(static_cast<std::uint32_t>(::getpid()));
  if (const auto container = find(request.id()))
    response.set_task_pid(static_cast<std::uint32_t>((*container)->init->pid));
  co_return response;
}

Co<Answer<wire::WaitResponse>> Service::wait(wire::WaitRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  const auto process = find_process(**container, request.exec_id());
  if (!process) co_return process.error();
  const Once<ChildExit> exited = (*process)->exited;
  const ChildExit exit = co_await exited.wait();
  wire::WaitResponse response;
  response.set_exit_status(exit.status);
  *response.mutable_exited_at() = to_wire(exit.at);
  co_return response;
}

}  // namespace shunt::task
