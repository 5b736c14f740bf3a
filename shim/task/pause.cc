// Pause and Resume: the freezer, through the runtime.
#include "shim/task/service.h"

namespace shunt::task {

Co<Answer<wire::Empty>> Service::pause(wire::PauseRequest request) {
  const auto found = find(request.id());
  if (!found) co_return found.error();
  const ContainerPtr& container = *found;
  const auto guard = co_await container->gate.enter();
  const State state = container->init->state;
  if (state == State::kCreated) co_return ttrpc::unknown("cannot pause task in created state");
  if (state != State::kRunning)
    co_return ttrpc::unknown("cannot pause a " + std::string{name_of(state)} + " container");
  container->pausing = true;
  const oci::Outcome paused = co_await container->runtime.pause();
  container->pausing = false;
  if (!paused.ok) co_return ttrpc::unknown("OCI runtime pause failed: " + paused.message);
  if (container->init->state == State::kRunning) container->init->state = State::kPaused;
  wire::TaskPaused event;
  event.set_container_id(container->id);
  events_.publish(event);
  co_return wire::Empty{};
}

Co<Answer<wire::Empty>> Service::resume(wire::ResumeRequest request) {
  const auto found = find(request.id());
  if (!found) co_return found.error();
  const ContainerPtr& container = *found;
  const auto guard = co_await container->gate.enter();
  const State state = container->init->state;
  if (state == State::kCreated) co_return ttrpc::unknown("cannot resume task in created state");
  if (state == State::kRunning) co_return ttrpc::unknown("cannot resume a running process");
  if (state != State::kPaused)
    co_return ttrpc::unknown("cannot resume a " + std::string{name_of(state)} + " container");
  const oci::Outcome resumed = co_await container->runtime.resume();
  if (!resumed.ok) co_return ttrpc::unknown("OCI runtime resume failed: " + resumed.message);
  if (container->init->state == State::kPaused) container->init->state = State::kRunning;
  wire::TaskResumed event;
  event.set_container_id(container->id);
  events_.publish(event);
  co_return wire::Empty{};
}

}  // namespace shunt::task
