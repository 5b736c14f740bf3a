#include "sandbox/profile/testing/compile.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "netstack/base/unique_fd.h"

// libseccomp 2.5.4 forgets the conditional rules that an unconditional one replaces.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libseccomp.so"; }

namespace shunt::sandbox::testing {
namespace {

std::optional<std::uint32_t> action_of(const std::string& name, const Json& errno_ret) {
  const auto number = errno_ret.is_number() ? errno_ret.get<std::uint16_t>() : std::uint16_t{EPERM};
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD") return SCMP_ACT_KILL_THREAD;
  if (name == "SCMP_ACT_KILL_PROCESS") return SCMP_ACT_KILL_PROCESS;
  if (name == "SCMP_ACT_TRAP") return SCMP_ACT_TRAP;
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(number);
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(number);
  if (name == "SCMP_ACT_LOG") return SCMP_ACT_LOG;
  if (name == "SCMP_ACT_ALLOW") return SCMP_ACT_ALLOW;
  if (name == "SCMP_ACT_NOTIFY") return SCMP_ACT_NOTIFY;
  return std::nullopt;
}

scmp_compare operator_of(const std::string& name) {
  if (name == "SCMP_CMP_NE") return SCMP_CMP_NE;
  if (name == "SCMP_CMP_LT") return SCMP_CMP_LT;
  if (name == "SCMP_CMP_LE") return SCMP_CMP_LE;
  if (name == "SCMP_CMP_EQ") return SCMP_CMP_EQ;
  if (name == "SCMP_CMP_GE") return SCMP_CMP_GE;
  if (name == "SCMP_CMP_GT") return SCMP_CMP_GT;
  return SCMP_CMP_MASKED_EQ;
}

std::uint32_t arch_of(const std::string& name) {
  if (name == "SCMP_ARCH_X86_64") return SCMP_ARCH_X86_64;
  if (name == "SCMP_ARCH_X86") return SCMP_ARCH_X86;
  if (name == "SCMP_ARCH_X32") return SCMP_ARCH_X32;
  if (name == "SCMP_ARCH_AARCH64") return SCMP_ARCH_AARCH64;
  return SCMP_ARCH_ARM;
}

/// One name of one entry. An argument that is tested twice makes runc add a rule per test.
int add_rule(scmp_filter_ctx filter, std::uint32_t action, int nr, const Json& args) {
  if (args.empty()) return seccomp_rule_add_array(filter, action, nr, 0, nullptr);
  std::vector<scmp_arg_cmp> tests;
  std::array<int, 6> count{};
  bool repeated = false;
  for (const Json& arg : args) {
    const auto index = arg.value("index", 0U);
    tests.push_back({index, operator_of(arg["op"]), arg.value("value", std::uint64_t{0}),
                     arg.value("valueTwo", std::uint64_t{0})});
    repeated = ++count[index] > 1 || repeated;
  }
  if (!repeated)
    return seccomp_rule_add_array(filter, action, nr, static_cast<unsigned>(tests.size()),
                                  tests.data());
  for (const scmp_arg_cmp& test : tests)
    if (const int rc = seccomp_rule_add_array(filter, action, nr, 1, &test); rc < 0) return rc;
  return 0;
}

Program exported(scmp_filter_ctx filter) {
  const UniqueFd file{::memfd_create("bpf", MFD_CLOEXEC)};
  if (seccomp_export_bpf(filter, file.get()) != 0) return {};
  Program program(static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END)) / sizeof(sock_filter));
  const std::size_t size = program.size() * sizeof(sock_filter);
  if (::pread(file.get(), program.data(), size, 0) != static_cast<ssize_t>(size)) return {};
  return program;
}

}  // namespace

std::variant<Program, std::string> compile(const Json& seccomp) {
  if (!seccomp.is_object() || !seccomp.contains("defaultAction")) return Program{};
  const auto default_action =
      action_of(seccomp["defaultAction"],
                seccomp.contains("defaultErrnoRet") ? seccomp["defaultErrnoRet"] : Json());
  if (!default_action || *default_action == SCMP_ACT_NOTIFY) return std::string("default action");
  const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter{seccomp_init(*default_action),
                                                                seccomp_release};
  if (seccomp.contains("architectures"))
    for (const Json& arch : seccomp["architectures"])
      if (const int rc = seccomp_arch_add(filter.get(), arch_of(arch)); rc < 0 && rc != -EEXIST)
        return std::string("architecture");
  if (!seccomp.contains("syscalls")) return exported(filter.get());
  for (const Json& entry : seccomp["syscalls"]) {
    const auto action =
        action_of(entry["action"], entry.contains("errnoRet") ? entry["errnoRet"] : Json());
    if (!action) return std::string("action");
    for (const Json& name : entry["names"]) {
      if (*action == *default_action) continue;
      const int nr = seccomp_syscall_resolve_name(name.get_ref<const std::string&>().c_str());
      if (nr == __NR_SCMP_ERROR) continue;
      const Json none = Json::array();
      const auto args = entry.find("args");
      const bool has_args = args != entry.end() && args->is_array();
      if (const int rc = add_rule(filter.get(), *action, nr, has_args ? *args : none); rc < 0)
        return "rule for " + name.get<std::string>() + ": " + std::to_string(rc);
    }
  }
  return exported(filter.get());
}

}  // namespace shunt::sandbox::testing
