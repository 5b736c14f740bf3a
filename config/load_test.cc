#include "config/load.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace shunt;
using namespace shunt::config;
using namespace std::chrono_literals;

namespace {

Config loaded(std::string_view yaml) {
  auto config = load_text(yaml, "f.yaml");
  REQUIRE_MESSAGE(config, (config ? "" : config.error()));
  return *config;
}

std::string refusal(std::string_view yaml) {
  auto config = load_text(yaml, "f.yaml");
  REQUIRE(!config);
  return config.error();
}

bool starts_with(const std::string& text, std::string_view start) {
  return text.compare(0, start.size(), start) == 0;
}

std::string repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

/// A directory for the files of one test, removed at its end.
struct Folder {
  std::string path = std::filesystem::temp_directory_path() / "shunt-config-test-XXXXXX";
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("an empty document gives the defaults") {
  for (const char* yaml : {"", "\n", "# nothing\n", "---\n", "---\n...\n", "{}", "upgrade:\n",
                           "upgrade:\n  # pair: tcp\nlog: {}\n", "\xef\xbb\xbf"})
    CHECK(loaded(yaml) == Config{});
}

TEST_CASE("every kind of value is read") {
  const Config config = loaded(R"(
state: "/run/other"
log: {level: debug}
runtime:
  binary: /usr/bin/crun
  systemd_cgroup: true
  timeout: 2m
stdio: {drain_timeout: 500ms}
events: {queue: 100}
upgrade:
  pair: tcp
  io_uring: allow
  short_lived: upgrade
  send_buffer: 64KiB
  ranges: [10.1.0.0/16, "fd00::/8"]
)");
  CHECK(config.state == "/run/other");
  CHECK(config.log.level == log::Level::kDebug);
  CHECK(config.runtime.binary == "/usr/bin/crun");
  CHECK(config.runtime.systemd_cgroup);
  CHECK(config.runtime.timeout == 2min);
  CHECK(config.stdio.drain_timeout == 500ms);
  CHECK(config.events.queue == 100);
  CHECK(config.upgrade.pair == Pair::kTcp);
  CHECK(config.upgrade.io_uring == IoUring::kAllow);
  CHECK(config.upgrade.short_lived == ShortLived::kUpgrade);
  CHECK(config.upgrade.send_buffer == 65536);
  REQUIRE(config.upgrade.ranges.size() == 2);
  CHECK(config.upgrade.ranges[1].text() == "fd00::/8");
  CHECK(config.upgrade.enabled);  // keys that are absent keep their defaults
}

TEST_CASE("unknown keys name the nearest valid one") {
  CHECK(refusal("upgrade:\n  pair: unix\n  piar: tcp\n") ==
        "f.yaml:3: unknown key \"upgrade.piar\"; did you mean \"upgrade.pair\"?");
  CHECK(refusal("\n\nruntim: {}\n") ==
        "f.yaml:3: unknown key \"runtim\"; did you mean \"runtime\"?");
  CHECK(refusal("drain_timeout: 1s") ==
        "f.yaml:1: unknown key \"drain_timeout\"; did you mean \"stdio.drain_timeout\"?");
  CHECK(refusal("upgrade.pair: tcp") ==
        "f.yaml:1: write \"upgrade.pair\" as \"pair\" inside a mapping \"upgrade\"");
  CHECK(refusal("colour: red") ==
        "f.yaml:1: unknown key \"colour\"; the keys are state, log, runtime, stdio, events, "
        "upgrade, fabrics");
  CHECK(refusal("log:\n  colour: red") ==
        "f.yaml:2: unknown key \"log.colour\"; the keys of \"log\" are level");
  CHECK(refusal("\"a\\nb\": 1") ==
        "f.yaml:1: unknown key \"a\\x0ab\"; the keys are state, log, runtime, stdio, events, "
        "upgrade, fabrics");
  CHECK(refusal("<<: {state: /x}") ==
        "f.yaml:1: unknown key \"<<\"; the keys are state, log, runtime, stdio, events, upgrade, "
        "fabrics");
}

TEST_CASE("duplicate keys name both lines") {
  CHECK(refusal("state: /a\nlog: {}\nstate: /b\n") ==
        "f.yaml:3: \"state\" is given twice, first on line 1");
  CHECK(refusal("log:\n  level: info\n  level: warn\n") ==
        "f.yaml:3: \"log.level\" is given twice, first on line 2");
}

TEST_CASE("wrong types say what is expected") {
  CHECK(refusal("runtime:\n  timeout: 10\n") ==
        "f.yaml:2: \"runtime.timeout\" must be a duration such as 500ms, 10s or 2m, not \"10\"");
  CHECK(
      refusal("runtime:\n  timeout:\n") ==
      "f.yaml:2: \"runtime.timeout\" has no value; it must be a duration such as 500ms, 10s or 2m");
  CHECK(
      refusal("runtime:\n  timeout: ~\nlog: {}\n") ==
      "f.yaml:2: \"runtime.timeout\" has no value; it must be a duration such as 500ms, 10s or 2m");
  CHECK(refusal("state: [/a]") == "f.yaml:1: \"state\" must be a text, not a list");
  CHECK(refusal("state:\n  dir: /a\n") == "f.yaml:2: \"state\" must be a text, not a mapping");
  CHECK(refusal("upgrade: true") ==
        "f.yaml:1: \"upgrade\" must be a mapping of the keys enabled, pair, loopback, ranges, "
        "send_buffer, io_uring, short_lived, not \"true\"");
  CHECK(refusal("upgrade: {ranges: 10.0.0.0/8}") ==
        "f.yaml:1: \"upgrade.ranges\" must be a list of address ranges such as 10.0.0.0/8 or "
        "fc00::/7, not \"10.0.0.0/8\"");
  CHECK(refusal("upgrade:\n  ranges:\n  - 10.0.0.0/8\n  - 10.0.0.1/8\n") ==
        "f.yaml:4: \"upgrade.ranges\" must be a list of address ranges such as 10.0.0.0/8 or "
        "fc00::/7; \"10.0.0.1/8\" has bits set beyond its prefix; write 10.0.0.0/8");
  CHECK(refusal("- a\n- b\n") ==
        "f.yaml:1: the file must be a mapping of the keys state, log, runtime, stdio, events, "
        "upgrade, fabrics, not a list");
  CHECK(refusal("hello") ==
        "f.yaml:1: the file must be a mapping of the keys state, log, runtime, stdio, events, "
        "upgrade, fabrics, not \"hello\"");
}

TEST_CASE("impossible values are named with their line") {
  CHECK(refusal("log: {}\nstate: run/shunt\n") ==
        "f.yaml:2: \"state\" must be an absolute path without . or .., not \"run/shunt\"");
  CHECK(refusal("upgrade:\n  loopback: false\n  ranges: []\n") ==
        "f.yaml:3: \"upgrade.ranges\" is empty and \"upgrade.loopback\" is false, so nothing could "
        "be upgraded; set \"upgrade.enabled\" to false if that is meant");
}

TEST_CASE("further problems are counted") {
  CHECK(refusal("log: {level: loud}\ncolour: 1\n") ==
        "f.yaml:1: \"log.level\" must be trace, debug, info, warn or error, not \"loud\" (and 1 "
        "more problem)");
  CHECK(refusal("events: {queue: 1}\nstate: x\nruntime: {timeout: 0s}\n") ==
        "f.yaml:2: \"state\" must be an absolute path without . or .., not \"x\" (and 2 more "
        "problems)");
}

TEST_CASE("what is not YAML is refused with its line") {
  CHECK(refusal("state: /a\nlog: {level: info\n") ==
        "f.yaml:3: this is not valid YAML (end of map flow not found)");
  CHECK(refusal("log:\n\tlevel: info") ==
        "f.yaml:2: this is not valid YAML (indent with spaces, not tabs)");
  CHECK(refusal("a: b: c") == "f.yaml:1: this is not valid YAML (illegal map value)");
  CHECK(starts_with(refusal("state: \"\\\x01\""),
                    "f.yaml:1: this is not valid YAML (unknown escape character: \\x01"));
  CHECK(refusal("state: /a\n---\nstate: /b\n") ==
        "f.yaml: the file has more than one YAML document");
  CHECK(refusal("? [a]\n: b\n") == "f.yaml:1: a key must be a word, not a list or mapping");
  CHECK(refusal("~: b\n") == "f.yaml:1: a key is missing before the \":\"");
  CHECK(refusal("state: !!str /a") ==
        "f.yaml:1: the YAML tag \"tag:yaml.org,2002:str\" is not allowed");
}

TEST_CASE("bombs are defused") {
  CHECK(refusal("a: &a [x, x]\nb: &b [*a, *a]\n") ==
        "f.yaml:1: anchors and aliases are not allowed");
  CHECK(starts_with(refusal("state: *a"), "f.yaml:1: "));
  CHECK(refusal(repeat("- ", 1000)) == "f.yaml:1: values are nested deeper than 8 levels");
  CHECK(starts_with(refusal(repeat("[", 500'000)), "f.yaml"));
  CHECK(starts_with(refusal(repeat("{", 500'000)), "f.yaml"));
  CHECK(starts_with(refusal(repeat("- ", 500'000)), "f.yaml"));
  CHECK(starts_with(refusal(repeat("? ", 500'000)), "f.yaml"));
  CHECK(starts_with(refusal("a: " + repeat("'", 500'001)), "f.yaml"));
  CHECK(refusal("state: [" + repeat("x, ", 20'000) + "x]") ==
        "f.yaml:1: the file has more than 10000 values");
  CHECK(refusal(std::string(kMaxFileSize + 1, '#')) == "f.yaml: the file is larger than 1MiB");
  CHECK(loaded(std::string(kMaxFileSize, '#')) == Config{});
}

TEST_CASE("files are read, and what cannot be read is named") {
  const Folder folder;
  const std::string file = folder.path + "/config.yaml";
  std::ofstream{file} << "log: {level: warn}\n";
  auto config = load_file(file);
  REQUIRE(config);
  CHECK(config->log.level == log::Level::kWarn);

  std::ofstream{file} << "log: {level: loud}\n";
  CHECK(load_file(file).error() ==
        file + ":1: \"log.level\" must be trace, debug, info, warn or error, not \"loud\"");

  CHECK(load_file(folder.path + "/absent").error() ==
        folder.path + "/absent: the file cannot be read (No such file or directory)");
  CHECK(load_file(folder.path).error() ==
        folder.path + ": the file cannot be read (Is a directory)");
  CHECK(load_file("/proc/self/mem").error() ==
        "/proc/self/mem: the file cannot be read (Input/output error)");

  const std::string fifo = folder.path + "/fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(load_file(fifo).error() == fifo + ": the file cannot be read (not a regular file)");

  const std::string big = folder.path + "/big";
  std::ofstream{big} << std::string(kMaxFileSize + 1, '\n');
  CHECK(load_file(big).error() == big + ": the file is larger than 1MiB");
}

TEST_CASE("a section inside a section") {
  const Config config = loaded(R"(
fabrics:
  enabled: [window, host]
  wait: 5ms
  silence: 30s
  host: {address: 192.0.2.7, guard: "off"}
  window: {directory: /run/window}
  verbs:
    gid_index: 3
)");
  CHECK(config.fabrics.enabled == std::vector{FabricName::kWindow, FabricName::kHost});
  CHECK(config.fabrics.wait == 5ms);
  CHECK(config.fabrics.silence == 30s);
  CHECK(config.fabrics.host.address == "192.0.2.7");
  CHECK(config.fabrics.host.guard == Guard::kOff);
  CHECK(config.fabrics.verbs.gid_index == 3);
  CHECK(refusal("fabrics: {host: {prot: 1}}") ==
        "f.yaml:1: unknown key \"fabrics.host.prot\"; did you mean \"fabrics.host.port\"?");
  CHECK(refusal("fabrics: {enabled: [rdma]}") ==
        "f.yaml:1: \"fabrics.enabled\" must be host, window or verbs, not \"rdma\"");
  CHECK(refusal("fabrics: {verbs: {gid_index: x}}") ==
        "f.yaml:1: \"fabrics.verbs.gid_index\" must be a whole number, not \"x\"");
}
