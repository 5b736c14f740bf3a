// What the filter of a container must bring to the supervisor: plain data.
//
// The supervisor's table of calls produces the list, merge.h writes it into a container's profile.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace shunt::sandbox {

/// "Argument `index` is this number."
struct ArgTest {
  unsigned index = 0;  ///< 1 to 5; libseccomp needs argument 0 of socket calls for i386 socketcall
  std::uint32_t value = 0;
};

enum class TrapAction {
  kNotify,  ///< ask the supervisor
  kNoSys,   ///< ENOSYS without asking
};

/// One system call and the conditions under which it is trapped.
struct Trap {
  std::string_view name;  ///< as in OCI profiles: "connect"
  TrapAction action = TrapAction::kNotify;
  /// The tests of one set hold together (an index at most once); any set suffices. Empty: always.
  std::vector<std::vector<ArgTest>> when = {};
  /// Filters compare 64 bits, but of an int the kernel reads only the lower half of the register: a
  /// guest can name 6 as 0x100000006. True traps every number above the largest named one as well,
  /// so that no such call slips by. For calls where that would matter and large numbers are rare.
  bool catch_disguised = false;
};

}  // namespace shunt::sandbox
