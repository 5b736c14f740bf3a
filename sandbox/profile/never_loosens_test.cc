// The proof behind merge.h: profiles before and after the merge are compiled as runc compiles them,
// both programs run over many calls, and the verdicts are compared. A call may go from ALLOW to
// NOTIFY or to ENOSYS if a trap names it; every other verdict is the same.
#include <doctest/doctest.h>
#include <linux/audit.h>
#include <seccomp.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "sandbox/profile/merge.h"
#include "sandbox/profile/testing/bpf.h"
#include "sandbox/profile/testing/compile.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {
namespace {

using testing::Program;
using Args = std::array<std::uint64_t, 6>;

constexpr std::uint32_t kX32Bit = 0x40000000;
constexpr std::uint32_t kNoSys = SECCOMP_RET_ERRNO | ENOSYS;

struct Abi {
  std::uint32_t audit;
  std::uint32_t library;  // SCMP_ARCH_
  std::uint32_t bit;
};
const std::array<Abi, 3> kAbis{{{AUDIT_ARCH_X86_64, SCMP_ARCH_X86_64, 0},
                                {AUDIT_ARCH_X86_64, SCMP_ARCH_X32, kX32Bit},
                                {AUDIT_ARCH_I386, SCMP_ARCH_X86, 0}}};
constexpr std::uint32_t kLastCall = 480;
constexpr std::uint32_t kSocketcall = 102;

std::string name_of(const Abi& abi, std::uint32_t nr, const Args& args) {
  static const std::map<std::uint64_t, std::string> kSubcalls = {
      {3, "connect"},     {4, "listen"},    {5, "accept"},      {6, "getsockname"}, {18, "accept4"},
      {7, "getpeername"}, {13, "shutdown"}, {14, "setsockopt"}, {15, "getsockopt"}};
  if (abi.audit == AUDIT_ARCH_I386 && nr == kSocketcall) {
    const auto found = kSubcalls.find(args[0] & 0xffffffff);
    return found == kSubcalls.end() ? "socketcall" : found->second;
  }
  static std::map<std::pair<std::uint32_t, std::uint32_t>, std::string> known;
  auto [it, fresh] = known.try_emplace({abi.library, nr});
  if (fresh) {
    char* name = seccomp_syscall_resolve_num_arch(abi.library, static_cast<int>(nr | abi.bit));
    if (name != nullptr) it->second = name;
    std::free(name);
  }
  return it->second;
}

std::string describe_call(const Abi& abi, std::uint32_t nr, const Args& args) {
  std::ostringstream text;
  text << name_of(abi, nr, args) << " arch " << std::hex << abi.audit << " nr " << nr << " (";
  for (const std::uint64_t arg : args) text << arg << ' ';
  text << ")";
  return text.str();
}

const std::vector<Trap>& traps() {
  static const std::vector<Trap> list = sandbox::traps(config::Upgrade{});
  return list;
}

const Trap* trap_of(const std::string& name) {
  for (const Trap& trap : traps())
    if (trap.name == name) return &trap;
  return nullptr;
}

bool asked_for(const Trap& trap, const Args& args) {
  if (trap.when.empty()) return true;
  for (const auto& set : trap.when) {
    bool all = true;
    for (const ArgTest& test : set) {
      const std::uint64_t arg = args[test.index];
      all = all && (trap.catch_disguised ? arg & 0xffffffff : arg) == test.value;
    }
    if (all) return true;
  }
  return false;
}

/// Values at which a comparison of the traps or of `profile` changes its result.
std::vector<std::uint64_t> interesting_values(const Json& profile) {
  std::set<std::uint64_t> values = {0,          1,          2,          100,  0x7fffffff,
                                    0x80000000, 0xffffffff, 1ULL << 32, ~0ULL};
  const auto around = [&](std::uint64_t v) { values.insert({v - 1, v, v + 1, v | 1ULL << 32}); };
  for (const Trap& trap : traps())
    for (const auto& set : trap.when)
      for (const ArgTest& test : set) around(test.value);
  if (profile.is_object() && profile.contains("syscalls"))
    for (const Json& entry : profile["syscalls"])
      if (entry.contains("args") && entry["args"].is_array())
        for (const Json& arg : entry["args"]) {
          around(arg.value("value", std::uint64_t{0}));
          around(arg.value("valueTwo", std::uint64_t{0}));
        }
  return {values.begin(), values.end()};
}

struct Tally {
  std::uint64_t calls = 0;
  std::uint64_t notified = 0;
  std::uint64_t refused = 0;  // io_uring_setup
  std::uint64_t wrong = 0;
};

class Comparison {
 public:
  Comparison(const Program& before, const Program& after, const MergeReport& report)
      : before_{before}, after_{after}, report_{report} {}

  void look(const Abi& abi, std::uint32_t nr, const Args& args) {
    seccomp_data call{};
    call.arch = abi.audit;
    call.nr = static_cast<int>(nr | abi.bit);
    std::copy(args.begin(), args.end(), call.args);
    const std::uint32_t was = before_.empty() ? SECCOMP_RET_ALLOW : testing::run(before_, call);
    const std::uint32_t is = after_.empty() ? SECCOMP_RET_ALLOW : testing::run(after_, call);
    ++tally.calls;
    const std::string name = name_of(abi, nr, args);
    const Trap* trap = trap_of(name);
    const bool may_notify = trap != nullptr && trap->action == TrapAction::kNotify;
    const bool may_refuse = trap != nullptr && trap->action == TrapAction::kNoSys;
    if (is != was && !(was == SECCOMP_RET_ALLOW && may_notify && is == SECCOMP_RET_USER_NOTIF) &&
        !(was == SECCOMP_RET_ALLOW && may_refuse && is == kNoSys)) {
      if (++tally.wrong == 1) FAIL_CHECK(describe_call(abi, nr, args), ": was ", was, ", is ", is);
      return;
    }
    if (is == SECCOMP_RET_USER_NOTIF) ++tally.notified;
    if (may_refuse && is == kNoSys && was == SECCOMP_RET_ALLOW) ++tally.refused;
    if (abi.bit == 0 && abi.audit == AUDIT_ARCH_X86_64 && trap != nullptr)
      check_trapped(*trap, was, is, args);
  }

  Tally tally;

 private:
  /// On the native architecture: what the report calls trapped is, and not more than it admits.
  void check_trapped(const Trap& trap, std::uint32_t was, std::uint32_t is, const Args& args) {
    TrapOutcome outcome = TrapOutcome::kLeftAlone;
    for (const TrapReport& each : report_.traps)
      if (each.name == trap.name) outcome = each.outcome;
    const bool trapped = is != was;
    const bool wanted = asked_for(trap, args);
    const bool disguise = trap.catch_disguised;  // large numbers are trapped in bulk
    bool fine = true;
    if (outcome == TrapOutcome::kLeftAlone) fine = !trapped;
    if (outcome != TrapOutcome::kLeftAlone && was == SECCOMP_RET_ALLOW && wanted) fine = trapped;
    if (outcome == TrapOutcome::kTrapped && !wanted && !disguise) fine = fine && !trapped;
    if (outcome == TrapOutcome::kTrapped && !wanted && disguise)
      fine = fine && (!trapped || args[1] > 41 || args[2] > 83);
    if (!fine && ++tally.wrong == 1)
      FAIL_CHECK(describe_call(kAbis[0], static_cast<std::uint32_t>(0), args), " ", trap.name,
                 ": trapped ", trapped, ", wanted ", wanted);
  }

  const Program& before_;
  const Program& after_;
  const MergeReport& report_;
};

struct Outcome {
  MergeReport report;
  Tally tally;
  std::size_t instructions_before = 0;
  std::size_t instructions_after = 0;
  bool runs_before = true;
  bool runs_after = true;
};

std::set<std::string> names_in(const Json& profile) {
  std::set<std::string> names;
  if (profile.is_object() && profile.contains("syscalls"))
    for (const Json& entry : profile["syscalls"])
      for (const Json& name : entry["names"]) names.insert(name.get<std::string>());
  return names;
}

/// Merges, compiles and compares. `thorough`: every pair of interesting values for trapped calls.
Outcome compare(const Json& profile, bool thorough, std::mt19937& random) {
  Json config = {{"linux", Json::object()}};
  if (!profile.is_null()) config["linux"]["seccomp"] = profile;
  Outcome outcome;
  outcome.report = merge_traps(config, traps(), {"/run/shunt/listener", ""});
  const Json merged = config["linux"].contains("seccomp") ? config["linux"]["seccomp"] : Json();

  const auto before = testing::compile(profile);
  const auto after = testing::compile(merged);
  outcome.runs_before = std::holds_alternative<Program>(before);
  outcome.runs_after = std::holds_alternative<Program>(after);
  // A profile that runc refuses must not become one that it takes, nor the reverse.
  if (outcome.runs_before != outcome.runs_after) {
    const auto& why = std::get<std::string>(outcome.runs_before ? after : before);
    FAIL_CHECK("only one of before and after compiles: ", why, "\n", profile.dump(), "\n",
               merged.dump());
  }
  if (!outcome.runs_before || !outcome.runs_after) return outcome;

  const Program& program_before = std::get<Program>(before);
  const Program& program_after = std::get<Program>(after);
  outcome.instructions_before = program_before.size();
  outcome.instructions_after = program_after.size();
  // Under a default that denies, runc adds ENOSYS for calls newer than the newest named one.
  if (profile.is_object() && profile["defaultAction"] != "SCMP_ACT_ALLOW")
    CHECK(names_in(profile) == names_in(merged));

  Comparison comparison{program_before, program_after, outcome.report};
  const std::vector<std::uint64_t> values = interesting_values(profile);
  const auto any = [&] { return values[random() % values.size()]; };
  for (const Abi& abi : kAbis) {
    for (std::uint32_t nr = 0; nr < kLastCall + (abi.bit != 0 ? 100 : 0); ++nr) {
      const bool mux = abi.audit == AUDIT_ARCH_I386 && nr == kSocketcall;
      const bool trapped = mux || trap_of(name_of(abi, nr, {})) != nullptr;
      for (std::uint64_t sub = 0; sub < (mux ? 21U : 1U); ++sub) {
        if (trapped && thorough) {
          for (const std::uint64_t one : values)
            for (const std::uint64_t two : values)
              comparison.look(abi, nr, {mux ? sub : any(), one, two, any(), any(), any()});
        } else {
          for (int i = 0; i < (trapped ? 25 : 2); ++i)
            comparison.look(abi, nr, {mux ? sub : any(), any(), any(), any(), any(), any()});
        }
      }
    }
  }
  // An architecture that no profile here names.
  const Abi foreign{AUDIT_ARCH_AARCH64, SCMP_ARCH_AARCH64, 0};
  for (std::uint32_t nr = 0; profile.is_object() && nr < kLastCall; ++nr)
    comparison.look(foreign, nr, {});
  outcome.tally = comparison.tally;
  if (outcome.tally.wrong != 0) MESSAGE(profile.dump(), "\n", merged.dump());
  return outcome;
}

Json profile_from_file(const std::string& name) {
  std::ifstream file(SHUNT_TESTDATA "/" + name);
  REQUIRE(file.good());
  return Json::parse(file);
}

TEST_CASE("containerd's default profile keeps every denial, and every trap is set") {
  for (const std::string name : {"containerd-default.json", "containerd-admin.json"}) {
    CAPTURE(name);
    std::mt19937 random{1};
    const Outcome outcome = compare(profile_from_file(name), true, random);
    CHECK(outcome.report.left_alone.empty());
    CHECK(outcome.report.listener_installed);
    for (const TrapReport& trap : outcome.report.traps)
      CHECK_MESSAGE(trap.outcome == TrapOutcome::kTrapped, trap.name, ": ", trap.why);
    CHECK(outcome.tally.wrong == 0);
    CHECK(outcome.tally.notified > 1000);
    CHECK(outcome.tally.refused > 0);
    CHECK(outcome.runs_after);
    CHECK(outcome.instructions_after < BPF_MAXINSNS);
    MESSAGE(name, ": ", outcome.tally.calls, " calls compared, ", outcome.instructions_before,
            " instructions before, ", outcome.instructions_after, " after");
  }
}

TEST_CASE("a container without a profile keeps everything it could do, on every architecture") {
  std::mt19937 random{2};
  const Outcome outcome = compare(Json(), true, random);
  CHECK(outcome.report.profile_synthesised);
  CHECK(outcome.report.listener_installed);
  CHECK(outcome.tally.wrong == 0);
  CHECK(outcome.tally.notified > 1000);
  CHECK(outcome.tally.refused > 0);
  for (const TrapReport& trap : outcome.report.traps)
    CHECK_MESSAGE(trap.outcome == TrapOutcome::kTrapped, trap.name, ": ", trap.why);
}

/// Profiles as somebody would write them to confuse a merge: the trapped calls and socketcall in
/// several entries, conditions that overlap or repeat, every action, every default.
class HostileProfiles {
 public:
  explicit HostileProfiles(std::mt19937& random) : random_{random} {}

  Json next() {
    Json profile;
    const std::string fallback = pick(kDefaults);
    profile["defaultAction"] = fallback;
    if (chance(4)) profile["defaultErrnoRet"] = pick(std::vector<int>{0, 1, 38, 13});
    if (!chance(4)) profile["architectures"] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"};
    if (profile.contains("architectures") && chance(2))
      profile["architectures"].push_back("SCMP_ARCH_X32");
    profile["syscalls"] = Json::array();
    const std::uint64_t entries = 1 + random_() % 10;
    for (std::uint64_t i = 0; i < entries; ++i) profile["syscalls"].push_back(entry());
    return profile;
  }

 private:
  Json entry() {
    Json entry;
    entry["names"] = Json::array();
    for (std::uint64_t i = 0; i < 1 + random_() % 5; ++i) entry["names"].push_back(pick(kNames));
    entry["action"] = chance(2) ? "SCMP_ACT_ALLOW" : pick(kActions);
    if (chance(3)) entry["errnoRet"] = pick(std::vector<int>{0, 1, 38, 13});
    if (chance(2)) return entry;
    entry["args"] = Json::array();
    for (std::uint64_t i = 0; i < 1 + random_() % 3; ++i) {
      Json arg;
      arg["index"] = random_() % (chance(5) ? 6 : 3);
      arg["value"] = pick(kValues);
      if (chance(2)) arg["valueTwo"] = pick(kValues);
      arg["op"] = pick(kOps);
      entry["args"].push_back(arg);
    }
    return entry;
  }

  template <typename T>
  T pick(const std::vector<T>& from) {
    return from[random_() % from.size()];
  }
  bool chance(unsigned one_in) { return random_() % one_in == 0; }

  const std::vector<std::string> kDefaults{
      "SCMP_ACT_ERRNO",        "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW",
      "SCMP_ACT_ALLOW",        "SCMP_ACT_KILL",  "SCMP_ACT_TRAP",
      "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG",   "SCMP_ACT_TRACE"};
  const std::vector<std::string> kActions{"SCMP_ACT_ERRNO", "SCMP_ACT_KILL",
                                          "SCMP_ACT_TRAP",  "SCMP_ACT_LOG",
                                          "SCMP_ACT_TRACE", "SCMP_ACT_KILL_PROCESS"};
  const std::vector<std::string> kNames{
      "connect",     "connect",    "accept",   "accept4",     "listen",         "getsockopt",
      "getsockopt",  "setsockopt", "shutdown", "ioctl",       "io_uring_setup", "getsockname",
      "getpeername", "socketcall", "read",     "no_such_call"};
  const std::vector<std::string> kOps{"SCMP_CMP_NE", "SCMP_CMP_LT",       "SCMP_CMP_LE",
                                      "SCMP_CMP_EQ", "SCMP_CMP_EQ",       "SCMP_CMP_GE",
                                      "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
  const std::vector<std::uint64_t> kValues{0,  1,  2,      3,          6,           14,   15,
                                           39, 41, 0x5411, 0xffffffff, 0x100000006, ~0ULL};
  std::mt19937& random_;
};

TEST_CASE("no profile, however contradictory, is loosened or turned from refused to accepted") {
  std::mt19937 random{20241121};
  HostileProfiles profiles{random};
  std::uint64_t ran = 0;
  std::uint64_t calls = 0;
  std::uint64_t notified = 0;
  for (int i = 0; i < 600; ++i) {
    const Outcome outcome = compare(profiles.next(), false, random);
    if (outcome.tally.wrong != 0) break;
    ran += outcome.runs_before ? 1 : 0;
    calls += outcome.tally.calls;
    notified += outcome.tally.notified;
  }
  MESSAGE(ran, " profiles that compile, ", calls, " calls compared, ", notified, " notified");
  CHECK(ran > 300);
  CHECK(notified > 1000);
}

}  // namespace
}  // namespace shunt::sandbox
