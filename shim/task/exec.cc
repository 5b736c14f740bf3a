// Exec: registers a further process; Start runs it.
#include "shim/oci/spec.h"
#include "shim/task/service.h"

namespace shunt::task {

Co<Answer<wire::Empty>> Service::exec(wire::ExecProcessRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  if (!oci::is_safe_id(request.exec_id()))
    co_return ttrpc::invalid_argument("exec id \"" + request.exec_id() + "\"");
  if ((*container)->execs.contains(request.exec_id()))
    co_return ttrpc::already_exists("id " + request.exec_id());
  const State state = (*container)->init->state;
  if (state == State::kPaused || state == State::kStopped || (*container)->pausing)
    co_return ttrpc::unknown("cannot exec in a " + std::string{name_of(state)} + " state");

  auto process = std::make_shared<Process>(loop_, reaper_, request.exec_id());
  process->spec = request.spec().value();
  process->streams.set_names({request.stdin(), request.stdout(), request.stderr(),
                              request.terminal(), (*container)->io_uid, (*container)->io_gid});
  (*container)->execs.emplace(request.exec_id(), process);
  wire::TaskExecAdded event;
  event.set_container_id((*container)->id);
  event.set_exec_id(request.exec_id());
  events_.publish(event);
  co_return wire::Empty{};
}

}  // namespace shunt::task
