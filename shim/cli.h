// The command line containerd gives a shim: Go-style flags (one dash or two, "-x v" or "-x=v"),
// then an action. Unknown flags are skipped: newer containerds may pass more.
#pragma once

#include <string>
#include <vector>

namespace shunt {

struct CommandLine {
  std::string containerd_namespace;
  std::string id;
  std::string address;  ///< containerd's gRPC socket
  std::string publish_binary;
  std::string bundle;
  std::string config_path;  ///< ours, from start to the daemon
  std::string action;       ///< "start", "delete", "" (the daemon)
  bool debug = false;
  bool version = false;
  bool info = false;
};

CommandLine parse_command_line(const std::vector<std::string>& arguments);

}  // namespace shunt
