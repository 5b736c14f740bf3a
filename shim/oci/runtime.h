// The OCI runtime (runc, or crun by config) as a command-line program: one call, one child process.
// Calls are bounded: one that outlives its timeout is killed with everything it started.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "netstack/base/co.h"
#include "shim/process/reaper.h"

namespace shunt::oci {

struct RuntimeSettings {
  std::string binary = "runc";
  std::string root;  ///< state directory of the runtime, one per containerd namespace
  bool systemd_cgroup = false;
  bool no_pivot_root = false;
  bool no_new_keyring = false;
  std::chrono::milliseconds timeout{60'000};
};

/// Standard streams of a call that starts a container process. -1: /dev/null.
struct Streams {
  int in = -1;
  int out = -1;
  int err = -1;
};

/// How a call ended. The message is the runtime's own last error, or a sentence of ours about why
/// it gave none (it does not exist, it was killed).
struct Outcome {
  bool ok = false;
  std::string message;
  std::string output;  ///< stdout, where asked for
};

class Runtime {
 public:
  Runtime(EventLoop& loop, Reaper& reaper, RuntimeSettings settings, std::string bundle,
          std::string id);

  Co<Outcome> create(Streams streams, std::string pid_file, const std::string& console_socket);
  Co<Outcome> start();
  Co<Outcome> exec(std::string process_file, Streams streams, std::string pid_file,
                   const std::string& console_socket);
  Co<Outcome> kill(int signal, bool all);
  Co<Outcome> remove(bool force);
  Co<Outcome> pause();
  Co<Outcome> resume();
  Co<Outcome> update(std::string resources_json);

  const RuntimeSettings& settings() const { return settings_; }
  /// Whether the runtime still has state for the container, without running it.
  bool has_state() const;

 private:
  Co<Outcome> run(std::vector<std::string> arguments, Streams streams, std::string input);

  EventLoop& loop_;
  Reaper& reaper_;
  RuntimeSettings settings_;
  std::string bundle_;
  std::string id_;
  unsigned calls_ = 0;
};

/// The message of the last line with level "error" in a runtime's JSON log; empty if there is none.
std::string last_error_in_log(std::string_view log);

}  // namespace shunt::oci
