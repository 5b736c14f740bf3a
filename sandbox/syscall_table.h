// THE list of trapped calls. The filter, the dispatcher, the names in logs and in `inspect`, and
// the README's table of support come from it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "sandbox/call.h"
#include "sandbox/profile/trap.h"

namespace shunt::sandbox {

struct Row {
  int number = -1;
  std::string_view name;
  Reply (*handler)(Call& call) = nullptr;  ///< null: refused by the filter itself
  std::string_view condition;              ///< when the filter traps it; empty: always
  std::string_view effect;                 ///< what happens, for the table of support
};

std::span<const Row> syscall_table();
/// The row's index, or nothing for a number that is not ours.
std::optional<std::size_t> find_row(int number);

/// What a container's filter must trap (see profile/merge.h); empty if nothing is upgraded.
std::vector<Trap> traps(const config::Upgrade& options);

/// A Markdown table of the rows.
std::string support_table();

// One handler a file, in syscalls/.
Reply on_accept(Call& call);
Reply on_accept4(Call& call);
Reply on_connect(Call& call);
Reply on_getpeername(Call& call);
Reply on_getsockname(Call& call);
Reply on_getsockopt(Call& call);
Reply on_ioctl(Call& call);
Reply on_landlock_restrict_self(Call& call);
Reply on_listen(Call& call);
Reply on_setsockopt(Call& call);

}  // namespace shunt::sandbox
