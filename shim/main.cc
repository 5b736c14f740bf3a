// containerd-shim-shunt-v2: what containerd starts for the runtime io.containerd.shunt.v2. Called
// by the name `shunt` it is the command for people.
#include <cstdio>
#include <string_view>

#include "shim/command/command.h"
#include "shim/start.h"

int main(int argc, char** argv) {
  const std::string_view name{argc > 0 ? argv[0] : ""};
  if (name.substr(name.rfind('/') + 1) == "shunt") return shunt::command::run(argc, argv);
  const shunt::CommandLine line = shunt::parse_command_line({argv + 1, argv + argc});
  if (line.version) {
    std::printf("%s:\n  Version:  %s\n", argv[0], SHUNT_VERSION);
    return 0;
  }
  if (line.info) return shunt::run_info(line);
  if (line.action == "start") return shunt::run_start(line);
  if (line.action == "delete") return shunt::run_delete(line);
  if (line.action.empty()) return shunt::run_daemon(line);
  std::fprintf(stderr,
               "containerd-shim-shunt-v2: unknown action \"%s\"; containerd uses start and delete, "
               "people use the command shunt\n",
               line.action.c_str());
  return 1;
}
