// The dialects of `start` between containerd 1.6 and 2.3: what comes on stdin, what goes to stdout.
//
//   up to 2.2   stdin: nothing, or a protobuf Any with runtime options    stdout: the address,
//   plain from 2.3    stdin: a protobuf BootstrapParams                          stdout: a protobuf
//   BootstrapResult
//
// The two inputs parse as each other, so the id and namespace in the message decide: they must be
// those of the command line. A plain address is understood by every containerd up to 2.2 (1.7 and
// later take it for version 2 and ttrpc), and stdin is never required.
#pragma once

#include <string>

#include "shim/cli.h"

namespace shunt {

struct Bootstrap {
  bool wants_protobuf = false;  ///< containerd 2.3+
  std::string options_type;     ///< of the runtime options, empty if none came
  std::string options_value;
  std::string socket_dir;  ///< containerd 2.3+ may name one
  bool debug = false;
};

Bootstrap read_bootstrap(const CommandLine& line, const std::string& input);
std::string write_bootstrap(const Bootstrap& request, const std::string& address);

}  // namespace shunt
