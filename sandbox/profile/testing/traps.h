// A list of traps with one of each kind, for tests: the calls that the supervisor handles.
#pragma once

#include <vector>

#include "sandbox/profile/trap.h"

namespace shunt::sandbox::testing {

inline std::vector<Trap> sample_traps() {
  std::vector<std::vector<ArgTest>> options = {{{1, 0}}, {{1, 6}}, {{1, 41}}};
  for (const std::uint32_t name : {15U, 16U, 17U, 31U, 34U, 38U, 39U, 59U, 60U, 76U, 77U, 83U})
    options.push_back({{1, 1}, {2, name}});
  return {
      {.name = "connect"},
      {.name = "listen"},
      {.name = "accept"},
      {.name = "accept4"},
      {.name = "getsockname"},
      {.name = "getpeername"},
      {.name = "getsockopt", .when = options, .catch_disguised = true},
      {.name = "setsockopt", .when = options, .catch_disguised = true},
      {.name = "shutdown", .when = {{{1, 0}}}},
      {.name = "ioctl", .when = {{{1, 0x5411}}, {{1, 0x894b}}, {{1, 0x8915}}}},
      {.name = "io_uring_setup", .action = TrapAction::kNoSys},
  };
}

}  // namespace shunt::sandbox::testing
