// Calls that no trap names cost what they cost without Shunt: Linux does not run a filter for those
// that it allows whatever their arguments are, and the merge takes none out of that set.
#include <doctest/doctest.h>
#include <linux/audit.h>
#include <seccomp.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "sandbox/profile/merge.h"
#include "sandbox/profile/testing/bpf.h"
#include "sandbox/profile/testing/compile.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {
namespace {

using testing::Program;

constexpr std::uint32_t kLastCall = 470;

std::string name_of(std::uint32_t library, std::uint32_t number) {
  char* name = seccomp_syscall_resolve_num_arch(library, static_cast<int>(number));
  std::string text = name == nullptr ? "" : name;
  std::free(name);
  return text;
}

bool has_trap(const std::string& name) {
  static const std::vector<Trap> traps = sandbox::traps(config::Upgrade{});
  return std::any_of(traps.begin(), traps.end(),
                     [&](const Trap& trap) { return trap.name == name; });
}

void compare(const Json& profile, int at_least) {
  Json config = {{"linux", Json::object()}};
  if (!profile.is_null()) config["linux"]["seccomp"] = profile;
  const auto before = testing::compile(profile);
  REQUIRE(merge_traps(config, traps(config::Upgrade{}), {"/listener", ""}).listener_installed);
  const auto after = testing::compile(config["linux"]["seccomp"]);
  REQUIRE(std::holds_alternative<Program>(before));
  REQUIRE(std::holds_alternative<Program>(after));
  const Program& old = std::get<Program>(before);

  int same = 0;
  for (const auto& [audit, library] :
       {std::pair{AUDIT_ARCH_X86_64, SCMP_ARCH_X86_64}, {AUDIT_ARCH_I386, SCMP_ARCH_X86}}) {
    for (std::uint32_t number = 0; number <= kLastCall; ++number) {
      const std::string name = name_of(library, number);
      const bool multiplexer = audit == AUDIT_ARCH_I386 && name == "socketcall";
      if (name.empty() || has_trap(name) || multiplexer) continue;
      if (!old.empty() && !testing::always_allows(old, audit, number)) continue;
      CHECK_MESSAGE(testing::always_allows(std::get<Program>(after), audit, number), name);
      ++same;
    }
  }
  CHECK(same >= at_least);
}

}  // namespace

TEST_CASE("calls without a trap are still allowed before their arguments are looked at") {
  compare(Json(), 600);
  std::ifstream file{SHUNT_TESTDATA "/containerd-default.json"};
  compare(Json::parse(file), 500);
}

}  // namespace shunt::sandbox
