// What the shim knows of a container: its init process, its exec'd processes, its cgroup. Objects
// of the event loop's thread. Operations that change one are serialised by its gate.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "netstack/base/co.h"
#include "shim/cgroup/cgroup.h"
#include "shim/oci/runtime.h"
#include "shim/process/reaper.h"
#include "shim/stdio/streams.h"

namespace shunt::task {

//   created -> running -> stopped -> deleted        running <-> paused (init only)
//   created -> stopped (start failed, or killed before it)
enum class State { kCreated, kRunning, kPaused, kStopped };
std::string_view name_of(State state);

struct Process {
  Process(EventLoop& loop, Reaper& reaper, std::string process_id)
      : id{std::move(process_id)}, streams{loop, reaper} {}

  std::string id;  ///< the container's id for its init, else the exec id
  bool is_init = false;
  pid_t pid = 0;
  State state = State::kCreated;
  ProcessStreams streams;
  std::string spec;  ///< exec only, until started: the OCI process as JSON

  /// Start has not yet published its event: an exit that comes now waits in `early_exit`.
  bool starting = false;
  std::optional<ChildExit> early_exit;
  std::optional<ChildExit> exit;
  Once<ChildExit> exited;
};

struct Container {
  Container(oci::Runtime with, std::shared_ptr<Process> first)
      : runtime{std::move(with)}, init{std::move(first)} {}

  std::string id;
  std::string bundle;
  std::string name;  ///< Kubernetes' name for it, if it has one
  oci::Runtime runtime;
  std::shared_ptr<Process> init;
  std::map<std::string, std::shared_ptr<Process>> execs;
  Gate gate;
  bool pausing = false;
  bool private_pid_namespace = true;
  std::uint32_t io_uid = 0;
  std::uint32_t io_gid = 0;
  std::optional<Cgroup> cgroup;
  std::unique_ptr<OomWatch> oom;

  std::shared_ptr<Process> find(const std::string& exec_id) const {
    if (exec_id.empty()) return init;
    const auto it = execs.find(exec_id);
    return it == execs.end() ? nullptr : it->second;
  }
};

}  // namespace shunt::task
