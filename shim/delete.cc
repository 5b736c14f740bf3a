// delete: cleans up one container whose shim is gone (killed, or ended after the last Delete). Runs
// in a process of its own, for at most 5 s, possibly while siblings in the pod live on: it touches
// nothing of theirs, tolerates whatever is missing, and may run twice.
#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "config/load.h"
#include "shim/events.h"
#include "shim/files.h"
#include "shim/mount.h"
#include "shim/oci/runtime.h"
#include "shim/oci/spec.h"
#include "shim/proto/task.pb.h"
#include "shim/runtime_options.h"
#include "shim/socket.h"
#include "shim/start.h"

namespace shunt {

int run_delete(const CommandLine& line) {
  ::signal(SIGTERM, SIG_IGN);  // half a clean-up is worse than a late one
  ::signal(SIGINT, SIG_IGN);
  std::string bundle = line.bundle;
  if (bundle.empty()) {
    std::string here(4096, '\0');
    bundle = ::getcwd(here.data(), here.size()) != nullptr ? here.c_str() : "";
  }
  if (!oci::is_safe_id(line.id) || bundle.empty() || bundle == "/") {
    std::fprintf(stderr, "containerd-shim-shunt-v2: delete needs -id and -bundle\n");
    return 1;
  }
  auto note = read_crash_note(bundle);
  if (note) {
    note->runtime.timeout = std::chrono::seconds{4};
    EventLoop loop;
    Reaper reaper{loop};
    oci::Runtime runtime{loop, reaper, note->runtime, bundle, line.id};
    // Starting the runtime just to hear that there is nothing costs 10 ms per container.
    if (runtime.has_state()) {
      const auto remove = [](oci::Runtime& with, EventLoop& on) -> Co<void> {
        const oci::Outcome removed = co_await with.remove(true);
        if (!removed.ok)
          std::fprintf(stderr, "containerd-shim-shunt-v2: %s\n", removed.message.c_str());
        on.stop();
      };
      spawn(remove(runtime, loop));
      loop.run();
    }
  }
  if (note)
    for (const std::string& socket : note->sockets) remove_dead_socket(socket);
  if (const Status unmounted = unmount_all(bundle + "/rootfs", true); !unmounted)
    std::fprintf(stderr, "containerd-shim-shunt-v2: %s\n", describe(unmounted.error()).c_str());
  const std::string address = read_file(bundle + "/address", 4096).value_or("");
  if (address.starts_with("unix:///")) remove_dead_socket(address.substr(7));

  wire::DeleteResponse response;
  response.set_pid(static_cast<std::uint32_t>(read_number(bundle + "/init.pid").value_or(0)));
  response.set_exit_status(128 + SIGKILL);
  *response.mutable_exited_at() = to_wire(std::chrono::system_clock::now());
  return write_all(STDOUT_FILENO, response.SerializeAsString()) ? 0 : 1;
}

}  // namespace shunt
