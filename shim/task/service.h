// The Task service: what containerd asks of a shim (containerd.task.v2.Task, and v3 with the same
// messages). One table of methods in service.cc, one file per group of methods beside it.
//
// Single-threaded: everything runs on the event loop; a method that must wait (for the runtime, for
// an exit) is a coroutine and blocks nobody. Error codes and texts follow containerd's own runc
// shim, since clients match on them.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "config/config.h"
#include "shim/cgroup/attach_ahead.h"
#include "shim/events.h"
#include "shim/proto/task.pb.h"
#include "shim/supervision.h"
#include "shim/task/container.h"
#include "shim/ttrpc/server.h"
#include "shim/ttrpc/status.h"

namespace shunt::task {

using ttrpc::Answer;

class Service {
 public:
  struct Options {
    std::string containerd_namespace;
    config::Config config;
    std::string inspect_socket;          ///< noted for the case that we crash
    Supervision* supervision = nullptr;  ///< outlives the service
    std::function<void()> on_shutdown;  ///< the last container is gone and containerd said Shutdown
  };
  Service(EventLoop& loop, Reaper& reaper, Events& events, Options options);

  /// Server::Handler.
  void handle(ttrpc::Call call, ttrpc::Responder respond);

  const std::map<std::string, std::shared_ptr<Container>>& containers() const {
    return containers_;
  }

  // The methods, as in the .proto. create.cc
  Co<Answer<wire::CreateTaskResponse>> create(wire::CreateTaskRequest request);
  // start.cc
  Co<Answer<wire::StartResponse>> start(wire::StartRequest request);
  // exec.cc
  Co<Answer<wire::Empty>> exec(wire::ExecProcessRequest request);
  // remove.cc
  Co<Answer<wire::DeleteResponse>> remove(wire::DeleteRequest request);
  // kill.cc
  Co<Answer<wire::Empty>> kill(wire::KillRequest request);
  // pause.cc
  Co<Answer<wire::Empty>> pause(wire::PauseRequest request);
  Co<Answer<wire::Empty>> resume(wire::ResumeRequest request);
  // query.cc
  Co<Answer<wire::StateResponse>> state(wire::StateRequest request);
  Co<Answer<wire::PidsResponse>> pids(wire::PidsRequest request);
  Co<Answer<wire::StatsResponse>> stats(wire::StatsRequest request);
  Co<Answer<wire::ConnectResponse>> connect(wire::ConnectRequest request);
  Co<Answer<wire::WaitResponse>> wait(wire::WaitRequest request);
  // control.cc
  Co<Answer<wire::Empty>> resize_pty(wire::ResizePtyRequest request);
  Co<Answer<wire::Empty>> close_io(wire::CloseIORequest request);
  Co<Answer<wire::Empty>> update(wire::UpdateTaskRequest request);
  Co<Answer<wire::Empty>> checkpoint(wire::CheckpointTaskRequest request);
  Co<Answer<wire::Empty>> shutdown(wire::ShutdownRequest request);

 private:
  using ContainerPtr = std::shared_ptr<Container>;
  using ProcessPtr = std::shared_ptr<Process>;

  Answer<ContainerPtr> find(const std::string& id) const;
  Answer<ProcessPtr> find_process(const Container& container, const std::string& exec_id) const;

  Co<Answer<wire::CreateTaskResponse>> create_mounted(wire::CreateTaskRequest request,
                                                      ContainerPtr container);
  Co<Answer<wire::StartResponse>> start_init(ContainerPtr container);
  Co<Answer<wire::StartResponse>> start_exec(ContainerPtr container, ProcessPtr process);
  Co<Result<Done, std::string>> run_exec(ContainerPtr container, ProcessPtr process);

  // exits.cc: from the kernel's report of an exit to the event and the answers of Wait.
  void watch_exit(const ContainerPtr& container, const ProcessPtr& process);
  void on_exit(const ContainerPtr& container, const ProcessPtr& process, ChildExit exit);
  void finish_start(const ContainerPtr& container, const ProcessPtr& process);
  void publish_exit(const ContainerPtr& container, const ProcessPtr& process);
  Co<void> kill_remaining(ContainerPtr container, ProcessPtr init);

  Co<void> drain_and_unmount(ContainerPtr container);

  EventLoop& loop_;
  Reaper& reaper_;
  Events& events_;
  Options options_;
  AttachAhead attach_ahead_;
  std::map<std::string, ContainerPtr> containers_;
  std::set<std::string> creating_;

  // A Delete whose answer was lost is asked again; the second gets the same answer.
  struct Deleted {
    std::string id;
    wire::DeleteResponse answer;
  };
  std::deque<Deleted> deleted_;
};

}  // namespace shunt::task
