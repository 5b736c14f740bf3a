// `shunt`: the commands for people, in the same binary (it looks at the name it was called by).
#pragma once

namespace shunt::command {

/// Exit codes: 0 done; 1 it could not be done, or (check) this host is not fit; 2 the command line
/// is wrong.
int run(int argc, char** argv);

}  // namespace shunt::command
