// ResizePty, CloseIO, Update, Checkpoint, Shutdown.
#include "shim/task/service.h"

namespace shunt::task {

Co<Answer<wire::Empty>> Service::resize_pty(wire::ResizePtyRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  const auto process = find_process(**container, request.exec_id());
  if (!process) co_return process.error();
  if (!(*process)->is_init && (*process)->state == State::kStopped)
    co_return ttrpc::unknown("cannot resize a stopped container");
  if (const Status resized = (*process)->streams.resize(request.width(), request.height());
      !resized)
    co_return ttrpc::unknown(describe(resized.error()));
  co_return wire::Empty{};
}

Co<Answer<wire::Empty>> Service::close_io(wire::CloseIORequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  const auto process = find_process(**container, request.exec_id());
  if (!process) co_return process.error();
  if (request.stdin()) (*process)->streams.close_stdin();
  co_return wire::Empty{};
}

Co<Answer<wire::Empty>> Service::update(wire::UpdateTaskRequest request) {
  const auto found = find(request.id());
  if (!found) co_return found.error();
  const ContainerPtr& container = *found;
  if (container->init->state == State::kStopped)
    co_return ttrpc::unknown("cannot update a stopped container");
  const auto guard = co_await container->gate.enter();
  const oci::Outcome updated = co_await container->runtime.update(request.resources().value());
  if (!updated.ok) co_return ttrpc::unknown("OCI runtime update failed: " + updated.message);
  co_return wire::Empty{};
}

Co<Answer<wire::Empty>> Service::checkpoint(wire::CheckpointTaskRequest request) {
  const auto container = find(request.id());
  if (!container) co_return container.error();
  co_return ttrpc::unimplemented(
      "checkpoint: a restored process would have no supervisor, so Shunt does not offer it");
}

Co<Answer<wire::Empty>> Service::shutdown(wire::ShutdownRequest) {
  // Another container of the pod may still need us.
  if (containers_.empty() && creating_.empty()) loop_.post(options_.on_shutdown);
  co_return wire::Empty{};
}

}  // namespace shunt::task
