#include "sandbox/profile/merge.h"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "sandbox/profile/testing/traps.h"

namespace shunt::sandbox {
namespace {

const ListenerAddress kListener{"/run/shunt/l", "meta"};

MergeReport merge(Json& config, const std::vector<Trap>& traps) {
  return merge_traps(config, traps, kListener);
}

Json config_with(std::string_view seccomp) {
  auto config = parse_config(R"({"linux":{"seccomp":)" + std::string(seccomp) + "}}");
  REQUIRE(config);
  return *std::move(config);
}

const std::vector<Trap> kConnect = {{.name = "connect"}};
const std::vector<Trap> kShutdown = {{.name = "shutdown", .when = {{{1, 0}}}}};
const std::vector<Trap> kRing = {{.name = "io_uring_setup", .action = TrapAction::kNoSys}};

TEST_CASE("what is not edited keeps its keys, their order and its 64-bit numbers") {
  const std::string text =
      R"({"zeta":[18446744073709551615,-9223372036854775808,0.5],"ociVersion":"1.0.2-dev",)"
      R"("linux":{"x-new":{"b":1,"a":null},"seccomp":{"defaultAction":"SCMP_ACT_ERRNO",)"
      R"("x-comment":"é","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",)"
      R"("args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}}})";
  auto config = parse_config(text);
  REQUIRE(config);
  const MergeReport report = merge(*config, kConnect);
  CHECK(serialise_config(*config) == text);
  CHECK_FALSE(report.listener_installed);  // connect is denied: no listener for nothing
}

TEST_CASE("documents that two readers could understand differently are refused") {
  CHECK_FALSE(parse_config(R"({"linux":{},"linux":{}})"));
  CHECK_FALSE(parse_config("[]"));
  CHECK_FALSE(parse_config("{"));
  CHECK_FALSE(parse_config(R"({"a":)" + std::string(5000, '[') + std::string(5000, ']') + "}"));
}

TEST_CASE("no profile: everything allowed, the traps, every architecture of the machine") {
  for (const char* none : {"null", "{}", R"({"architectures":["SCMP_ARCH_X86_64"]})"}) {
    Json config = config_with(none);
    const MergeReport report = merge(config, kConnect);
    CHECK(report.profile_synthesised);
    CHECK(report.listener_installed);
    const Json& seccomp = config["linux"]["seccomp"];
    CHECK(seccomp["defaultAction"] == "SCMP_ACT_ALLOW");
    CHECK(seccomp["architectures"].size() > 1);
    CHECK(seccomp["listenerPath"] == "/run/shunt/l");
    CHECK(seccomp["listenerMetadata"] == "meta");
    CHECK(seccomp["syscalls"].dump() == R"([{"names":["connect"],"action":"SCMP_ACT_NOTIFY"}])");
  }
}

TEST_CASE("an allowed call moves from its entry to one of its own") {
  Json config =
      config_with(R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[)"
                  R"({"names":["bind","connect","read"],"action":"SCMP_ACT_ALLOW","comment":"c"},)"
                  R"({"names":["connect"],"action":"SCMP_ACT_ALLOW"}]})");
  const MergeReport report = merge(config, kConnect);
  CHECK(report.traps[0].outcome == TrapOutcome::kTrapped);
  CHECK(config["linux"]["seccomp"]["syscalls"].dump() ==
        R"([{"names":["bind","read"],"action":"SCMP_ACT_ALLOW","comment":"c"},)"
        R"({"names":["connect"],"action":"SCMP_ACT_NOTIFY"}])");
}

TEST_CASE("a trap by argument under a default that denies spells out what stays allowed") {
  Json config = config_with(R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[)"
                            R"({"names":["shutdown"],"action":"SCMP_ACT_ALLOW"}]})");
  merge(config, kShutdown);
  CHECK(config["linux"]["seccomp"]["syscalls"].dump() ==
        R"([{"names":["shutdown"],"action":"SCMP_ACT_NOTIFY",)"
        R"("args":[{"index":1,"value":0,"op":"SCMP_CMP_EQ"}]},)"
        R"({"names":["shutdown"],"action":"SCMP_ACT_ALLOW",)"
        R"("args":[{"index":1,"value":0,"op":"SCMP_CMP_GT"}]}])");
}

TEST_CASE("a call allowed for some arguments is trapped for exactly these") {
  Json config = config_with(
      R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["shutdown","read"],)"
      R"("action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":2,"op":"SCMP_CMP_LT"}]}]})");
  const MergeReport report = merge(config, kShutdown);
  CHECK(report.traps[0].outcome == TrapOutcome::kTrappedMore);
  CHECK(config["linux"]["seccomp"]["syscalls"].dump() ==
        R"([{"names":["read"],"action":"SCMP_ACT_ALLOW",)"
        R"("args":[{"index":1,"value":2,"op":"SCMP_CMP_LT"}]},)"
        R"({"names":["shutdown"],"action":"SCMP_ACT_NOTIFY",)"
        R"("args":[{"index":1,"value":2,"op":"SCMP_CMP_LT"}]}])");
}

TEST_CASE("io_uring_setup becomes ENOSYS where it was allowed, and only there") {
  SUBCASE("allowed") {
    Json config = config_with(R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[)"
                              R"({"names":["io_uring_setup"],"action":"SCMP_ACT_ALLOW"}]})");
    merge(config, kRing);
    CHECK(config["linux"]["seccomp"]["syscalls"].dump() ==
          R"([{"names":["io_uring_setup"],"action":"SCMP_ACT_ERRNO","errnoRet":38}])");
    CHECK_FALSE(config["linux"]["seccomp"].contains("listenerPath"));
  }
  SUBCASE("denied with another errno") {
    Json config = config_with(R"({"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]})");
    const Json before = config;
    CHECK(merge(config, kRing).traps[0].outcome == TrapOutcome::kLeftAlone);
    CHECK(config == before);
  }
}

TEST_CASE("calls that the profile denies, logs, traces or contradicts itself about are left") {
  const char* syscalls = "";
  const char* fallback = "SCMP_ACT_ERRNO";
  SUBCASE("unnamed under a default that denies") {}
  SUBCASE("unnamed under a default that logs") { fallback = "SCMP_ACT_LOG"; }
  SUBCASE("killed") { syscalls = R"({"names":["connect"],"action":"SCMP_ACT_KILL"})"; }
  SUBCASE("logged") { syscalls = R"({"names":["connect"],"action":"SCMP_ACT_LOG"})"; }
  SUBCASE("traced") { syscalls = R"({"names":["connect"],"action":"SCMP_ACT_TRACE"})"; }
  SUBCASE("denied under a default that allows") {
    fallback = "SCMP_ACT_ALLOW";
    syscalls = R"({"names":["connect"],"action":"SCMP_ACT_ERRNO"})";
  }
  SUBCASE("denied for some arguments under a default that allows") {
    fallback = "SCMP_ACT_ALLOW";
    syscalls = R"({"names":["connect"],"action":"SCMP_ACT_ERRNO",)"
               R"("args":[{"index":2,"value":16,"op":"SCMP_CMP_GT"}]})";
  }
  SUBCASE("allowed and denied") {
    syscalls = R"({"names":["connect"],"action":"SCMP_ACT_ALLOW"},)"
               R"({"names":["connect"],"action":"SCMP_ACT_KILL"})";
  }
  SUBCASE("allowed with and without a condition") {
    syscalls = R"({"names":["connect"],"action":"SCMP_ACT_ALLOW",)"
               R"("args":[{"index":2,"value":16,"op":"SCMP_CMP_EQ"}]},)"
               R"({"names":["connect"],"action":"SCMP_ACT_ALLOW"})";
  }
  SUBCASE("allowed beside a socketcall that is filtered by argument") {
    syscalls = R"({"names":["connect"],"action":"SCMP_ACT_ALLOW"},{"names":["socketcall"],)"
               R"("action":"SCMP_ACT_KILL","args":[{"index":0,"value":5,"op":"SCMP_CMP_EQ"}]})";
  }
  Json config = config_with(std::string(R"({"defaultAction":")") + fallback + R"(","syscalls":[)" +
                            syscalls + "]}");
  const Json before = config;
  const MergeReport report = merge(config, kConnect);
  CHECK(report.left_alone.empty());
  REQUIRE(report.traps.size() == 1);
  CHECK(report.traps[0].outcome == TrapOutcome::kLeftAlone);
  CHECK_FALSE(report.traps[0].why.empty());
  CHECK_FALSE(report.listener_installed);
  CHECK(config == before);
}

TEST_CASE("sections with a listener of their own, or that are malformed, are left as they are") {
  const auto with_rule = [](const std::string& rule) {
    return R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":)" + rule + "}]}";
  };
  const std::vector<std::string> sections = {
      R"({"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/their"})",
      R"({"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"theirs"})",
      R"({"defaultAction":"SCMP_ACT_NOTIFY"})",
      with_rule(R"(["bpf"],"action":"SCMP_ACT_NOTIFY")"),
      R"({"defaultAction":"SCMP_ACT_PLEASE"})",
      R"({"DefaultAction":"SCMP_ACT_ALLOW"})",
      "7",
      R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}})",
      R"({"flags":["X"]})",
      with_rule(R"([1],"action":"SCMP_ACT_ALLOW")"),
      with_rule(R"(["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"op":"SCMP_CMP_EQ"}])"),
      with_rule(R"(["a"],"action":"SCMP_ACT_ERRNO","errnoRet":-1)"),
  };
  for (const std::string& seccomp : sections) {
    CAPTURE(seccomp);
    Json config = config_with(seccomp);
    const Json before = config;
    const MergeReport report = merge(config, testing::sample_traps());
    CHECK_FALSE(report.left_alone.empty());
    CHECK_FALSE(report.listener_installed);
    CHECK(config == before);
  }
  Json windows = {{"windows", Json::object()}};
  CHECK_FALSE(merge(windows, kConnect).left_alone.empty());
}

TEST_CASE("flags stay: whether the runtime takes them is between it and who wrote them") {
  Json config =
      config_with(R"({"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]})");
  CHECK(merge(config, kConnect).listener_installed);
  CHECK(config["linux"]["seccomp"]["flags"][0] == "SECCOMP_FILTER_FLAG_LOG");
}

TEST_CASE("ociVersion is lowered for a runtime that knows only 1.0") {
  Json config = {{"ociVersion", "1.2.0"}};
  CHECK(normalise_oci_version(config));
  CHECK(config["ociVersion"] == "1.0.2");
  CHECK_FALSE(normalise_oci_version(config));
  Json dev = {{"ociVersion", "1.0.2-dev"}};
  CHECK_FALSE(normalise_oci_version(dev));
}

}  // namespace
}  // namespace shunt::sandbox
