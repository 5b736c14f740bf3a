#include "sandbox/profile/oci_profile.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

namespace shunt::sandbox {
namespace {

constexpr std::array<std::pair<std::string_view, SeccompAction>, 9> kActions{{
    {"SCMP_ACT_KILL", SeccompAction::kKill},
    {"SCMP_ACT_KILL_THREAD", SeccompAction::kKillThread},
    {"SCMP_ACT_KILL_PROCESS", SeccompAction::kKillProcess},
    {"SCMP_ACT_TRAP", SeccompAction::kTrap},
    {"SCMP_ACT_ERRNO", SeccompAction::kErrno},
    {"SCMP_ACT_TRACE", SeccompAction::kTrace},
    {"SCMP_ACT_LOG", SeccompAction::kLog},
    {"SCMP_ACT_ALLOW", SeccompAction::kAllow},
    {"SCMP_ACT_NOTIFY", SeccompAction::kNotify},
}};

constexpr std::array<std::string_view, 7> kOperators{
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
    "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};

bool is_u64(const Json& value) { return value.is_number_unsigned(); }

std::optional<SeccompAction> action_of(const Json& value) {
  if (!value.is_string()) return std::nullopt;
  const auto& name = value.get_ref<const std::string&>();
  for (const auto& [known, action] : kActions)
    if (known == name) return action;
  return std::nullopt;
}

/// runc's JSON reader takes "Action" for "action", and some letters beyond ASCII for s and k; a
/// reader that does not would see another profile than the one that is installed.
template <std::size_t N>
bool spelled_exactly(const Json& object, const std::array<std::string_view, N>& known) {
  const auto same_letters = [](std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
      const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; };
      return lower(x) == lower(y);
    });
  };
  for (const auto& [key, value] : object.items()) {
    if (std::any_of(key.begin(), key.end(), [](char c) { return (c & 0x80) != 0; })) return false;
    for (const std::string_view name : known)
      if (key != name && same_letters(key, name)) return false;
  }
  return true;
}

bool is_array_or_nothing(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() || it->is_array();
}

bool is_string_or_nothing(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() || it->is_string();
}

bool is_errno_or_nothing(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() || is_u64(*it);
}

std::string string_or_empty(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string{};
}

bool is_argument(const Json& arg) {
  if (!arg.is_object() ||
      !spelled_exactly(arg, std::array<std::string_view, 4>{"index", "value", "valueTwo", "op"}))
    return false;
  const auto number_or_nothing = [&](const char* key) {
    const auto it = arg.find(key);
    return it == arg.end() || is_u64(*it);
  };
  if (!number_or_nothing("index") || !number_or_nothing("value") || !number_or_nothing("valueTwo"))
    return false;
  if (arg.contains("index") && arg["index"].get<std::uint64_t>() > 5) return false;
  const std::string op = string_or_empty(arg, "op");
  return std::find(kOperators.begin(), kOperators.end(), op) != kOperators.end();
}

/// Adds what entry number `index` says to `profile`; a complaint otherwise.
std::optional<Malformed> read_entry(const Json& entry, std::size_t index, OciProfile& profile) {
  const std::string which = "syscalls[" + std::to_string(index) + "]";
  if (!entry.is_object()) return Malformed{which + " is no object"};
  if (!spelled_exactly(entry,
                       std::array<std::string_view, 4>{"names", "action", "errnoRet", "args"}))
    return Malformed{which + " has a key in the wrong case"};
  const auto action = entry.contains("action") ? action_of(entry["action"]) : std::nullopt;
  if (!action) return Malformed{which + " has no known action"};
  if (!is_errno_or_nothing(entry, "errnoRet")) return Malformed{which + " has a bad errnoRet"};
  if (!is_array_or_nothing(entry, "args")) return Malformed{which + " has bad args"};
  if (!entry.contains("names") || !entry["names"].is_array())
    return Malformed{which + " has no names"};

  const auto args = entry.find("args");
  const bool conditional = args != entry.end() && args->is_array() && !args->empty();
  if (conditional && !std::all_of(args->begin(), args->end(), is_argument))
    return Malformed{which + " has a bad argument test"};
  profile.notifies = profile.notifies || *action == SeccompAction::kNotify;
  for (const Json& name : entry["names"]) {
    if (!name.is_string()) return Malformed{which + " has a bad name"};
    profile.uses[name.get<std::string>()].push_back({index, *action, conditional});
  }
  return std::nullopt;
}

}  // namespace

std::variant<std::optional<OciProfile>, Malformed> read_profile(const Json& seccomp) {
  if (seccomp.is_null()) return std::nullopt;
  if (!seccomp.is_object()) return Malformed{"seccomp is no object"};
  if (!spelled_exactly(seccomp, std::array<std::string_view, 7>{
                                    "defaultAction", "defaultErrnoRet", "architectures", "flags",
                                    "listenerPath", "listenerMetadata", "syscalls"}))
    return Malformed{"a key is in the wrong case"};
  for (const char* key : {"syscalls", "flags", "architectures"})
    if (!is_array_or_nothing(seccomp, key)) return Malformed{std::string(key) + " is no array"};
  for (const char* key : {"defaultAction", "listenerPath", "listenerMetadata"})
    if (!is_string_or_nothing(seccomp, key)) return Malformed{std::string(key) + " is no string"};
  if (!is_errno_or_nothing(seccomp, "defaultErrnoRet")) return Malformed{"bad defaultErrnoRet"};

  const auto syscalls = seccomp.find("syscalls");
  const bool has_rules = syscalls != seccomp.end() && syscalls->is_array() && !syscalls->empty();
  if (string_or_empty(seccomp, "defaultAction").empty() && !has_rules) {
    if (!string_or_empty(seccomp, "listenerPath").empty() ||
        (seccomp.contains("flags") && !seccomp["flags"].empty()))
      return Malformed{"flags or a listener without a default action"};
    return std::nullopt;
  }

  OciProfile profile;
  const auto default_action =
      seccomp.contains("defaultAction") ? action_of(seccomp["defaultAction"]) : std::nullopt;
  if (!default_action) return Malformed{"unknown defaultAction"};
  profile.default_action = *default_action;
  profile.notifies = *default_action == SeccompAction::kNotify;
  profile.listener_path = string_or_empty(seccomp, "listenerPath");
  profile.listener_metadata = string_or_empty(seccomp, "listenerMetadata");
  if (has_rules)
    for (std::size_t i = 0; i < syscalls->size(); ++i)
      if (auto complaint = read_entry((*syscalls)[i], i, profile)) return *complaint;
  return profile;
}

}  // namespace shunt::sandbox
