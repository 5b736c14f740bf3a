// How one trapped call meets the rules that a profile has for it. libseccomp (2.5) decides what
// such rules mean: of unconditional rules the first stays; an unconditional one replaces
// conditional ones and keeps later ones out; two conditional rules with the identical test are an
// error that fails the container. A rule whose action equals the default is never added.
//
//   the profile says                              then
//   ALLOW, for every argument                     the rule is replaced by cells: NOTIFY and ALLOW
//   nothing, default ALLOW                        the trapped cells are added
//   ALLOW for some arguments, default not ALLOW   these rules change their action and nothing else:
//                                                 the tree libseccomp builds keeps its shape
//   nothing, default not ALLOW                    left alone
//   anything else                                 left alone
//
// Rules stay in their place in the list, since runtimes add them in its order.
#include "sandbox/profile/merge.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "sandbox/profile/cells.h"

namespace shunt::sandbox {
namespace {

constexpr int kNoSysErrno = ENOSYS;
constexpr std::size_t kMaxDepth = 200;

/// Calls that i386 reaches through socketcall(2) as well. libseccomp writes their rules into the
/// rules of socketcall, where they can collide with those of a profile that names it.
constexpr std::array<std::string_view, 9> kMultiplexed{"accept",      "accept4",     "connect",
                                                       "getpeername", "getsockname", "getsockopt",
                                                       "listen",      "setsockopt",  "shutdown"};

bool is_multiplexed(std::string_view name) {
  return std::find(kMultiplexed.begin(), kMultiplexed.end(), name) != kMultiplexed.end();
}

Json entry_for(std::string_view name, TrapAction action) {
  Json entry;
  entry["names"] = Json::array({std::string(name)});
  if (action == TrapAction::kNotify) {
    entry["action"] = "SCMP_ACT_NOTIFY";
  } else {
    entry["action"] = "SCMP_ACT_ERRNO";
    entry["errnoRet"] = kNoSysErrno;
  }
  return entry;
}

const char* name_of(CellOp op) {
  switch (op) {
    case CellOp::kEqual:
      return "SCMP_CMP_EQ";
    case CellOp::kLess:
      return "SCMP_CMP_LT";
    case CellOp::kGreater:
      return "SCMP_CMP_GT";
    case CellOp::kMaskedEqual:
      return "SCMP_CMP_MASKED_EQ";
  }
  return "";
}

Json args_of(const Cell& cell) {
  Json args = Json::array();
  for (const CellTest& test : cell.tests) {
    Json arg;
    arg["index"] = test.index;
    arg["value"] = test.value;
    if (test.op == CellOp::kMaskedEqual) arg["valueTwo"] = test.value_two;
    arg["op"] = name_of(test.op);
    args.push_back(std::move(arg));
  }
  return args;
}

/// The entries for a call that is allowed: its trapped cells, and the others unless the default
/// action covers them.
std::vector<Json> entries_for_cells(const Trap& trap, bool default_allows) {
  std::vector<Json> entries;
  for (const Cell& cell : partition(trap)) {
    if (!cell.trapped && default_allows) continue;
    Json entry = entry_for(trap.name, trap.action);
    if (!cell.trapped) {
      entry["action"] = "SCMP_ACT_ALLOW";
      entry.erase("errnoRet");
    }
    if (!cell.tests.empty()) entry["args"] = args_of(cell);
    entries.push_back(std::move(entry));
  }
  return entries;
}

/// What to do about one trap; `edit` is what apply() does to the list of entries.
struct Decision {
  enum class Edit { kNone, kAdd, kReplace, kRelabel } edit = Edit::kNone;
  TrapReport report;
};

Decision decide(const Trap& trap, const OciProfile& profile) {
  using Edit = Decision::Edit;
  Decision decision{.edit = Edit::kNone, .report = {.name = std::string(trap.name)}};
  const auto leave = [&](std::string why) {
    decision.report.why = std::move(why);
    return decision;
  };
  const auto trapped = [&](Edit edit) {
    decision.edit = edit;
    decision.report.outcome = TrapOutcome::kTrapped;
    return decision;
  };

  if (is_multiplexed(trap.name)) {
    const auto mux = profile.uses.find("socketcall");
    if (mux != profile.uses.end() &&
        std::any_of(mux->second.begin(), mux->second.end(),
                    [](const RuleUse& use) { return use.conditional; }))
      return leave("the profile filters socketcall by its arguments");
  }

  const bool default_allows = profile.default_action == SeccompAction::kAllow;
  const auto found = profile.uses.find(trap.name);
  if (found == profile.uses.end() || found->second.empty())
    return default_allows ? trapped(Edit::kAdd) : leave("not allowed by the profile");

  const std::vector<RuleUse>& uses = found->second;
  const auto allows = [](const RuleUse& use) { return use.action == SeccompAction::kAllow; };
  const auto conditional = [](const RuleUse& use) { return use.conditional; };
  const bool only_allows = std::all_of(uses.begin(), uses.end(), allows);
  if (default_allows)  // rules that repeat the default are never added: no condition counts
    return only_allows ? trapped(Edit::kReplace) : leave("restricted by the profile");
  if (std::none_of(uses.begin(), uses.end(), allows)) return leave("denied by the profile");
  if (std::none_of(uses.begin(), uses.end(), conditional))
    return only_allows ? trapped(Edit::kReplace) : leave("the profile contradicts itself");
  if (!std::all_of(uses.begin(), uses.end(), conditional))
    return leave("the profile has conditional and unconditional rules");
  // With a second kind of rule beside ALLOW, ENOSYS could coincide with it and change the tree;
  // NOTIFY cannot, since no profile that has NOTIFY gets here.
  if (trap.action == TrapAction::kNoSys && !only_allows)
    return leave("allowed and denied by the profile, by arguments");
  decision = trapped(Edit::kRelabel);
  if (!trap.when.empty()) {
    decision.report.outcome = TrapOutcome::kTrappedMore;
    decision.report.why = "for all arguments that the profile allows";
  }
  return decision;
}

std::size_t take_name(Json& entry, std::string_view name) {
  Json& names = entry["names"];
  Json kept = Json::array();
  std::size_t taken = 0;
  for (Json& each : names) {
    if (each == name) {
      ++taken;
    } else {
      kept.push_back(std::move(each));
    }
  }
  names = std::move(kept);
  return taken;
}

/// The list with `trap` applied, entries in their old order.
Json apply(Json syscalls, const Trap& trap, Decision::Edit edit, bool default_allows) {
  Json result = Json::array();
  bool cells_written = false;
  const auto write_cells = [&] {
    if (std::exchange(cells_written, true)) return;
    for (Json& entry : entries_for_cells(trap, default_allows)) result.push_back(std::move(entry));
  };
  for (Json& entry : syscalls) {
    const bool allow = entry["action"] == "SCMP_ACT_ALLOW";
    const std::size_t mentions = allow ? take_name(entry, trap.name) : 0;
    Json relabelled;
    if (mentions > 0 && edit == Decision::Edit::kRelabel) {
      relabelled = entry_for(trap.name, trap.action);
      relabelled["names"] = Json(std::vector<std::string>(mentions, std::string(trap.name)));
      relabelled["args"] = entry["args"];
    }
    if (mentions == 0 || !entry["names"].empty()) result.push_back(std::move(entry));
    if (mentions == 0) continue;
    if (edit == Decision::Edit::kRelabel) {
      result.push_back(std::move(relabelled));
    } else {
      write_cells();
    }
  }
  if (edit == Decision::Edit::kAdd) write_cells();
  return result;
}

/// A profile that allows everything, for the container that has none. Foreign architectures are
/// named, because a filter kills the calls of those it does not know.
void synthesise(Json& seccomp) {
  if (!seccomp.is_object()) seccomp = Json::object();
  seccomp["defaultAction"] = "SCMP_ACT_ALLOW";
#if defined(__x86_64__)
  seccomp["architectures"] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
#elif defined(__aarch64__)
  seccomp["architectures"] = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
#endif
  seccomp["syscalls"] = Json::array();
}

MergeReport left_alone(std::string why) {
  MergeReport report;
  report.left_alone = std::move(why);
  return report;
}

}  // namespace

MergeReport merge_traps(Json& config, std::span<const Trap> traps,
                        const ListenerAddress& listener) {
  const auto linux_section = config.is_object() ? config.find("linux") : config.end();
  if (!config.is_object() || linux_section == config.end() || !linux_section->is_object())
    return left_alone("the configuration has no linux section");

  MergeReport report;
  const auto present = linux_section->find("seccomp");
  Json seccomp = present == linux_section->end() ? Json() : *present;
  auto read = read_profile(seccomp);
  if (const auto* malformed = std::get_if<Malformed>(&read))
    return left_alone("the seccomp profile is malformed: " + malformed->reason);
  auto& profile = std::get<std::optional<OciProfile>>(read);
  if (!profile) {
    synthesise(seccomp);
    report.profile_synthesised = true;
    profile.emplace();
    profile->default_action = SeccompAction::kAllow;
  }
  if (!profile->listener_path.empty() || !profile->listener_metadata.empty())
    return left_alone("the profile has a listener of its own");
  if (profile->notifies) return left_alone("the profile has NOTIFY rules of its own");

  const bool default_allows = profile->default_action == SeccompAction::kAllow;
  Json syscalls = seccomp.contains("syscalls") && seccomp["syscalls"].is_array()
                      ? seccomp["syscalls"]
                      : Json::array();
  for (const Trap& trap : traps) {
    Decision decision = decide(trap, *profile);
    if (decision.edit != Decision::Edit::kNone) {
      syscalls = apply(std::move(syscalls), trap, decision.edit, default_allows);
      report.listener_installed = report.listener_installed || trap.action == TrapAction::kNotify;
    }
    report.traps.push_back(std::move(decision.report));
  }

  seccomp["syscalls"] = std::move(syscalls);
  if (report.listener_installed) {
    seccomp["listenerPath"] = listener.path;
    if (!listener.metadata.empty()) seccomp["listenerMetadata"] = listener.metadata;
  }
  (*linux_section)["seccomp"] = std::move(seccomp);
  return report;
}

Result<Json> parse_config(std::string_view text) {
  // One set of keys per object that is open; the parser drops the value when told false, so the
  // verdict is kept aside.
  std::vector<std::set<std::string>> open;
  bool acceptable = true;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > static_cast<int>(kMaxDepth)) acceptable = false;
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end && !open.empty()) open.pop_back();
    if (event == Json::parse_event_t::key && !open.empty() &&
        !open.back().insert(value.get<std::string>()).second)
      acceptable = false;
    return acceptable;
  };
  Json config = Json::parse(text, check, /*allow_exceptions=*/false);
  if (!acceptable || !config.is_object()) return Error{EINVAL, "config.json"};
  return config;
}

std::string serialise_config(const Json& config) { return config.dump(); }

bool normalise_oci_version(Json& config) {
  const auto version = config.find("ociVersion");
  if (version == config.end() || !version->is_string()) return false;
  if (version->get_ref<const std::string&>().find("1.0") != std::string::npos) return false;
  *version = "1.0.2";
  return true;
}

}  // namespace shunt::sandbox
