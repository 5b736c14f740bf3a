// Create: mount the root filesystem, make the streams, let the runtime create the container, and
// remember it. On any failure everything done so far is undone before the answer.
#include <unistd.h>

#include "config/load.h"
#include "netstack/base/log.h"
#include "shim/files.h"
#include "shim/mount.h"
#include "shim/oci/spec.h"
#include "shim/runtime_options.h"
#include "shim/stdio/console.h"
#include "shim/task/service.h"

namespace shunt::task {
namespace {

std::vector<MountSpec> mounts_of(const wire::CreateTaskRequest& request) {
  std::vector<MountSpec> mounts;
  for (const auto& mount : request.rootfs())
    mounts.push_back({mount.type(),
                      mount.source(),
                      mount.target(),
                      {mount.options().begin(), mount.options().end()}});
  return mounts;
}

}  // namespace

Co<Answer<wire::CreateTaskResponse>> Service::create(wire::CreateTaskRequest request) {
  const std::string& id = request.id();
  if (!oci::is_safe_id(id)) co_return ttrpc::invalid_argument("container id \"" + id + "\"");
  if (request.bundle().empty() || request.bundle().front() != '/')
    co_return ttrpc::invalid_argument("bundle \"" + request.bundle() + "\" is no absolute path");
  if (!request.checkpoint().empty())
    co_return ttrpc::unimplemented(
        "restoring from a checkpoint: a restored process would have no supervisor");
  if (containers_.contains(id) || !creating_.insert(id).second)
    co_return ttrpc::already_exists("container " + id);

  const auto options =
      read_runtime_options(request.options().type_url(), request.options().value());
  auto settings = runtime_settings(options, options_.config, options_.containerd_namespace);
  if (!settings) {
    creating_.erase(id);
    co_return ttrpc::invalid_argument(settings.error());
  }
  auto init = std::make_shared<Process>(loop_, reaper_, id);
  init->is_init = true;
  oci::Runtime runtime{loop_, reaper_, std::move(*settings), request.bundle(), id};
  auto container = std::make_shared<Container>(std::move(runtime), init);
  container->id = id;
  container->bundle = request.bundle();
  container->io_uid = options.io_uid;
  container->io_gid = options.io_gid;
  const auto spec =
      oci::summarize_spec(read_file(request.bundle() + "/config.json", 16 << 20).value_or(""));
  if (spec) {
    container->private_pid_namespace = spec->private_pid_namespace;
    const auto name = spec->annotations.find("io.kubernetes.cri.container-name");
    if (name != spec->annotations.end()) container->name = name->second;
  }
  if (options_.supervision != nullptr) {
    const auto prepared = options_.supervision->prepare(request.bundle(), id);
    if (!prepared) {
      creating_.erase(id);
      co_return ttrpc::unknown(prepared.error());
    }
  }

  const std::string rootfs = request.bundle() + "/rootfs";
  const auto mounted = mount_all(mounts_of(request), rootfs);
  if (!mounted) {
    creating_.erase(id);
    co_return ttrpc::unknown(mounted.error());
  }
  const auto answer = co_await create_mounted(request, container);
  creating_.erase(id);
  if (answer) {
    containers_.emplace(id, container);
  } else {
    init->streams.close();
    static_cast<void>(unmount_all(rootfs, true));
    if (options_.supervision != nullptr) options_.supervision->forget(id);
  }
  co_return answer;
}

Co<Answer<wire::CreateTaskResponse>> Service::create_mounted(wire::CreateTaskRequest request,
                                                             ContainerPtr container) {
  const AttachAhead::Hold ahead{attach_ahead_};
  const ProcessPtr init = container->init;
  CrashNote note{container->runtime.settings(), {options_.inspect_socket}};
  if (options_.supervision != nullptr) note.sockets.push_back(options_.supervision->socket_path());
  write_crash_note(container->bundle, note);
  const StreamNames names{request.stdin(),    request.stdout(),  request.stderr(),
                          request.terminal(), container->io_uid, container->io_gid};
  const LoggerIdentity identity{container->id, options_.containerd_namespace};
  const auto opened = co_await init->streams.open(names, identity);
  if (!opened) co_return ttrpc::unknown("failed to create init process I/O: " + opened.error());

  std::optional<ConsoleSocket> console;
  if (request.terminal()) {
    auto socket = ConsoleSocket::listen(options_.config.state + "/pty");
    if (!socket)
      co_return ttrpc::unknown("failed to create OCI runtime console socket: " +
                               describe(socket.error()));
    console.emplace(std::move(*socket));
  }
  const std::string pid_file = container->bundle + "/init.pid";
  const Reaper::Hold hold{reaper_};
  const std::string console_path = console ? console->path() : "";
  const oci::Outcome created =
      co_await container->runtime.create(init->streams.child_ends(), pid_file, console_path);
  if (!created.ok) {
    if (container->runtime.has_state()) co_await container->runtime.remove(true);
    co_return ttrpc::unknown("OCI runtime create failed: " + created.message);
  }
  UniqueFd master;
  std::string problem;
  if (console) {
    auto received = co_await console->receive(loop_, std::chrono::seconds{30});
    if (received) {
      master = std::move(*received);
    } else {
      problem = "failed to retrieve console master: " + describe(received.error());
    }
  }
  if (problem.empty()) {
    const auto copying = init->streams.started(std::move(master));
    if (!copying) problem = "failed to start io pipe copy: " + copying.error();
  }
  const long pid = read_number(pid_file).value_or(0);
  if (problem.empty() && pid <= 0)
    problem = "failed to retrieve OCI runtime container pid from " + pid_file;
  if (!problem.empty()) {
    co_await container->runtime.remove(true);
    co_return ttrpc::unknown(problem);
  }
  init->pid = static_cast<pid_t>(pid);
  container->cgroup = Cgroup::of(init->pid);
  if (container
          ->cgroup) {  // from now on: a fast container can run out of memory before Start returns
    container->oom =
        std::make_unique<OomWatch>(loop_, *container->cgroup, [this, id = container->id] {
          wire::TaskOOM event;
          event.set_container_id(id);
          events_.publish(event);
        });
  }

  wire::TaskCreate event;
  event.set_container_id(container->id);
  event.set_bundle(container->bundle);
  *event.mutable_rootfs() = request.rootfs();
  event.mutable_io()->set_stdin(request.stdin());
  event.mutable_io()->set_stdout(request.stdout());
  event.mutable_io()->set_stderr(request.stderr());
  event.mutable_io()->set_terminal(request.terminal());
  event.set_pid(static_cast<std::uint32_t>(pid));
  events_.publish(event);
  watch_exit(container, init);

  wire::CreateTaskResponse response;
  response.set_pid(static_cast<std::uint32_t>(pid));
  co_return response;
}

}  // namespace shunt::task
