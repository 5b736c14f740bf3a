// Writes the supervisor's traps into the seccomp section of a container's config.json.
//
// Called by the shim before the runtime creates a container (and for nothing else: an exec uses the
// profile of its container). Pure: a document in, the edited document and a report out.
//
// The rule above all others: the profile is never loosened. A call may only move from ALLOW to
// NOTIFY, or from ALLOW to ENOSYS. Whatever the profile denies, logs or traces stays as it is, and
// where its meaning cannot be told for certain it is left alone. never_loosens_test.cc compares the
// compiled programs of before and after.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/result.h"
#include "sandbox/profile/oci_profile.h"
#include "sandbox/profile/trap.h"

namespace shunt::sandbox {

/// Where the runtime sends the notify descriptor, and the opaque text that it sends along.
struct ListenerAddress {
  std::string path;  ///< absolute path of a listening AF_UNIX stream socket
  std::string metadata;
};

enum class TrapOutcome {
  kTrapped,      ///< as asked for
  kTrappedMore,  ///< also under conditions that were not asked for; `why` says which
  kLeftAlone,    ///< not trapped; `why` says so
};

struct TrapReport {
  std::string name = {};
  TrapOutcome outcome = TrapOutcome::kLeftAlone;
  std::string why = {};
};

struct MergeReport {
  /// Why the whole section was left alone; empty when it was merged.
  std::string left_alone;
  bool listener_installed = false;   ///< a descriptor will arrive at ListenerAddress::path
  bool profile_synthesised = false;  ///< the container had no profile
  std::vector<TrapReport> traps;     ///< one per trap, in the order given; empty if left alone
};

/// Edits `config` (a whole config.json) in place.
MergeReport merge_traps(Json& config, std::span<const Trap> traps, const ListenerAddress& listener);

/// A config.json as a document. EINVAL: no JSON object, a key given twice, nested beyond reason.
Result<Json> parse_config(std::string_view text);
/// The reverse; what was not edited comes back with the same keys, order and numbers.
std::string serialise_config(const Json& config);

/// crun up to 1.8 refuses every ociVersion without "1.0" in it, while newer containerd writes
/// "1.1.0" or "1.2.0" without using anything that 1.0 lacks. True when it was changed.
bool normalise_oci_version(Json& config);

}  // namespace shunt::sandbox
