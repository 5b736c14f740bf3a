// The seccomp section of an OCI config.json, read strictly, without changing it.
//
// Both runtimes refuse a section they cannot read and so does this: what is not understood to the
// last key is nothing to build on, and merge.h then leaves it alone.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace shunt::sandbox {

/// Keeps the order of keys; numbers beyond 2^53 stay exact.
using Json = nlohmann::ordered_json;

enum class SeccompAction {
  kKill,
  kKillThread,
  kKillProcess,
  kTrap,
  kErrno,
  kTrace,
  kLog,
  kAllow,
  kNotify
};

/// Where one system call is named: an entry of the array `syscalls`.
struct RuleUse {
  std::size_t entry = 0;
  SeccompAction action = SeccompAction::kErrno;
  bool conditional = false;  ///< the entry has args
};

struct OciProfile {
  SeccompAction default_action = SeccompAction::kErrno;
  bool notifies = false;  ///< some entry's action is NOTIFY
  std::string listener_path;
  std::string listener_metadata;
  /// By system call, in the order in which a runtime adds the rules; one use per mention.
  std::map<std::string, std::vector<RuleUse>, std::less<>> uses;
};

/// What is wrong with the section, in words for a log line.
struct Malformed {
  std::string reason;
};

/// The section as a profile; nothing when it asks for no filter at all (absent, null, or without
/// default action and rules: runc then runs the container unconfined).
std::variant<std::optional<OciProfile>, Malformed> read_profile(const Json& seccomp);

}  // namespace shunt::sandbox
