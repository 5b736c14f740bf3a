#include "shim/oci/runtime.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fmt/core.h>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "netstack/base/log.h"
#include "shim/files.h"
#include "shim/process/tree.h"

namespace shunt::oci {

using std::chrono::milliseconds;

std::string last_error_in_log(std::string_view log) {
  std::string message;
  while (!log.empty()) {
    const auto line = log.substr(0, log.find('\n'));
    log.remove_prefix(std::min(log.size(), line.size() + 1));
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    if (!entry.is_object() || entry.value("level", nlohmann::json{}) != "error") continue;
    if (const auto text = entry.find("msg"); text != entry.end() && text->is_string())
      message = *text;
  }
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  return message;
}

Runtime::Runtime(EventLoop& loop, Reaper& reaper, RuntimeSettings settings, std::string bundle,
                 std::string id)
    : loop_{loop},
      reaper_{reaper},
      settings_{std::move(settings)},
      bundle_{std::move(bundle)},
      id_{std::move(id)} {}

bool Runtime::has_state() const {
  return ::access((settings_.root + "/" + id_).c_str(), F_OK) == 0;
}

Co<Outcome> Runtime::create(Streams streams, std::string pid_file,
                            const std::string& console_socket) {
  std::vector<std::string> arguments{"create", "--bundle", bundle_, "--pid-file",
                                     std::move(pid_file)};
  if (!console_socket.empty())
    arguments.insert(arguments.end(), {"--console-socket", console_socket});
  if (settings_.no_pivot_root) arguments.emplace_back("--no-pivot");
  if (settings_.no_new_keyring) arguments.emplace_back("--no-new-keyring");
  arguments.push_back(id_);
  return run(std::move(arguments), streams, {});
}

Co<Outcome> Runtime::start() { return run({"start", id_}, {}, {}); }

Co<Outcome> Runtime::exec(std::string process_file, Streams streams, std::string pid_file,
                          const std::string& console_socket) {
  std::vector<std::string> arguments{"exec",     "--process",  std::move(process_file),
                                     "--detach", "--pid-file", std::move(pid_file)};
  if (!console_socket.empty())
    arguments.insert(arguments.end(), {"--console-socket", console_socket});
  arguments.push_back(id_);
  return run(std::move(arguments), streams, {});
}

Co<Outcome> Runtime::kill(int signal, bool all) {
  std::vector<std::string> arguments{"kill"};
  if (all) arguments.emplace_back("--all");
  arguments.insert(arguments.end(), {id_, std::to_string(signal)});
  return run(std::move(arguments), {}, {});
}

Co<Outcome> Runtime::remove(bool force) {
  std::vector<std::string> arguments{"delete"};
  if (force) arguments.emplace_back("--force");
  arguments.push_back(id_);
  return run(std::move(arguments), {}, {});
}

Co<Outcome> Runtime::pause() { return run({"pause", id_}, {}, {}); }
Co<Outcome> Runtime::resume() { return run({"resume", id_}, {}, {}); }

Co<Outcome> Runtime::update(std::string resources_json) {
  return run({"update", "--resources", "-", id_}, {}, std::move(resources_json));
}

Co<Outcome> Runtime::run(std::vector<std::string> arguments, Streams streams, std::string input) {
  // A log of its own for each call: two execs may run at once, and probes would grow a common one
  // for ever.
  const std::string log_file = bundle_ + "/log-" + std::to_string(++calls_) + ".json";
  const std::string verb = arguments.front();
  ChildSpec child;
  child.argv = {settings_.binary, "--root",       settings_.root, "--log",
                log_file,         "--log-format", "json"};
  if (settings_.systemd_cgroup) child.argv.emplace_back("--systemd-cgroup");
  child.argv.insert(child.argv.end(), arguments.begin(), arguments.end());

  UniqueFd stdin_file;
  if (!input.empty()) {
    stdin_file = UniqueFd{::memfd_create("input", MFD_CLOEXEC)};
    if (!write_all(stdin_file.get(), input))
      co_return Outcome{false, "cannot hold the runtime's input", {}};
    ::lseek(stdin_file.get(), 0, SEEK_SET);
    streams.in = stdin_file.get();
  }
  // Calls that start no container process keep what they print: some errors never reach the log.
  UniqueFd printed;
  if (streams.err < 0 && verb != "create" && verb != "exec") {
    printed = UniqueFd{::memfd_create("printed", MFD_CLOEXEC)};
    streams.err = printed.get();
  }
  if (streams.in >= 0) child.descriptors.emplace_back(streams.in, 0);
  if (streams.out >= 0) child.descriptors.emplace_back(streams.out, 1);
  if (streams.err >= 0) child.descriptors.emplace_back(streams.err, 2);

  const auto pid = start_child(child);
  if (!pid) {
    co_return Outcome{
        false,
        "cannot run the OCI runtime \"" + settings_.binary + "\": " + describe(pid.error()),
        {}};
  }
  const std::optional<ChildExit> exit = co_await reaper_.wait(*pid, settings_.timeout);
  Outcome outcome;
  if (!exit) {
    // runc killed alone leaves a stuck "runc init" behind, so its descendants go first.
    kill_tree(*pid);
    reaper_.watch(*pid, [](ChildExit) {});
    const auto seconds =
        std::chrono::duration_cast<std::chrono::duration<double>>(settings_.timeout).count();
    outcome.message =
        fmt::format("{} {} did not finish within {}s and was killed (config key runtime.timeout)",
                    settings_.binary, verb, seconds);
    log::error("shim", "{}", outcome.message);
  } else if (exit->status == 0) {
    outcome.ok = true;
  } else {
    outcome.message = last_error_in_log(read_file(log_file, 1 << 20).value_or(""));
    if (outcome.message.empty() && printed.valid()) {
      ::lseek(printed.get(), 0, SEEK_SET);
      outcome.message = read_descriptor(printed.get(), 4096);
    }
    // runc names itself in its errors; of another runtime one should know who speaks.
    const std::string name = settings_.binary.substr(settings_.binary.rfind('/') + 1);
    if (name != "runc" && !outcome.message.empty() &&
        outcome.message.find(name) == std::string::npos)
      outcome.message.insert(0, name + ": ");
    if (outcome.message.empty())
      outcome.message = fmt::format("{} {} ended with status {} and gave no reason",
                                    settings_.binary, verb, exit->status);
  }
  ::unlink(log_file.c_str());
  co_return outcome;
}

}  // namespace shunt::oci
