// What containerd says to a shim when it starts one, and what the shim reads from files.
#include <doctest/doctest.h>
#include <sys/mount.h>

#include "shim/bootstrap.h"
#include "shim/cgroup/cgroup.h"
#include "shim/cli.h"
#include "shim/mount.h"
#include "shim/oci/runtime.h"
#include "shim/oci/spec.h"
#include "shim/proto/options.pb.h"
#include "shim/runtime_options.h"
#include "shim/stdio/log_uri.h"

using namespace shunt;

TEST_CASE(
    "flags come with one dash or two, with a blank or an equals sign, before or after the action") {
  const auto line = parse_command_line({"-namespace", "k8s.io", "--id=abc", "-address",
                                        "/run/c.sock", "-publish-binary", "/usr/bin/containerd",
                                        "-debug", "start", "-new-flag"});
  CHECK(line.containerd_namespace == "k8s.io");
  CHECK(line.id == "abc");
  CHECK(line.address == "/run/c.sock");
  CHECK(line.debug);
  CHECK(line.action == "start");
  CHECK(parse_command_line({"-v"}).version);
  CHECK(parse_command_line({"--version"}).version);
  CHECK(parse_command_line({"-debug=false"}).debug == false);
  CHECK(parse_command_line({"-id"}).id.empty());
  CHECK(parse_command_line({"-", "--", ""}).action == "-");
}

TEST_CASE("each dialect of start is recognised and answered in kind") {
  const auto line = parse_command_line({"-namespace", "ns", "-id", "c1", "start"});
  SUBCASE("nothing on stdin: a plain address") {
    const auto request = read_bootstrap(line, "");
    CHECK_FALSE(request.wants_protobuf);
    CHECK(write_bootstrap(request, "unix:///s") == "unix:///s");
  }
  SUBCASE("an Any with options, up to containerd 2.2") {
    wire::Any any;
    any.set_type_url("containerd.runc.v1.Options");
    any.set_value(
        "\x32\x04"
        "crun");
    const auto request = read_bootstrap(line, any.SerializeAsString());
    CHECK_FALSE(request.wants_protobuf);
    CHECK(request.options_type == "containerd.runc.v1.Options");
    CHECK(read_runtime_options(request.options_type, request.options_value).binary == "crun");
  }
  SUBCASE("BootstrapParams from containerd 2.3") {
    wire::BootstrapParams params;
    params.set_instance_id("c1");
    params.set_namespace_("ns");
    params.set_log_level(-4);
    params.set_socket_dir("/run/s");
    auto& options = *params.add_extensions()->mutable_value();
    options.set_type_url("runtimeoptions.v1.Options");
    wire::RuntimeOptions named;
    named.set_config_path("/etc/x.yaml");
    options.set_value(named.SerializeAsString());
    const auto request = read_bootstrap(line, params.SerializeAsString());
    CHECK(request.wants_protobuf);
    CHECK(request.debug);
    CHECK(request.socket_dir == "/run/s");
    CHECK(read_runtime_options(request.options_type, request.options_value).config_path ==
          "/etc/x.yaml");
    wire::BootstrapResult result;
    REQUIRE(result.ParseFromString(write_bootstrap(request, "unix:///s")));
    CHECK(result.version() == 2);
    CHECK(result.address() == "unix:///s");
    CHECK(result.protocol() == "ttrpc");
  }
  SUBCASE("BootstrapParams of another container are not ours") {
    wire::BootstrapParams params;
    params.set_instance_id("c2");
    params.set_namespace_("ns");
    CHECK_FALSE(read_bootstrap(line, params.SerializeAsString()).wants_protobuf);
  }
  SUBCASE("garbage is ignored") {
    CHECK_FALSE(read_bootstrap(line, "\xff\x01garbage").wants_protobuf);
  }
}

TEST_CASE("options of the runtime go before those of the config file") {
  config::Config config;
  config.state = "/s";
  auto settings = runtime_settings({}, config, "ns");
  REQUIRE(settings);
  CHECK(settings->binary == "runc");
  CHECK(settings->root == "/s/runc/ns");
  RuntimeOptions options;
  options.binary = "crun";
  options.root = "/r";
  options.systemd_cgroup = true;
  settings = runtime_settings(options, config, "ns");
  REQUIRE(settings);
  CHECK(settings->binary == "crun");
  CHECK(settings->root == "/r/ns");
  CHECK(settings->systemd_cgroup);
  options.config_path = "/does/not/exist.yaml";
  CHECK_FALSE(runtime_settings(options, config, "ns"));
}

TEST_CASE("a spec tells the pod and whether processes outlive their init") {
  using oci::summarize_spec;
  CHECK_FALSE(summarize_spec("no json"));
  CHECK_FALSE(summarize_spec("[]"));
  CHECK(summarize_spec("{}")->group("own") == "own");
  CHECK_FALSE(summarize_spec("{}")->private_pid_namespace);
  const auto pod = summarize_spec(
      R"({"annotations":{"io.kubernetes.cri.sandbox-id":"pod","n":1},"linux":{"namespaces":[{"type":"pid"},{"type":"net","path":"/x"}]}})");
  CHECK(pod->group("own") == "pod");
  CHECK(pod->private_pid_namespace);
  CHECK_FALSE(summarize_spec(R"({"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}})")
                  ->private_pid_namespace);
  CHECK_FALSE(
      summarize_spec(R"({"linux":{"namespaces":[1,{"type":2},{}]}})")->private_pid_namespace);
  CHECK(
      summarize_spec(
          R"({"annotations":{"io.containerd.runc.v2.group":"g","io.kubernetes.cri.sandbox-id":"pod"}})")
          ->group("own") == "g");
}

TEST_CASE("ids that could leave their place are refused") {
  for (const char* good : {"a", "redis-1.x_Y", "0123"}) CHECK(oci::is_safe_id(good));
  for (const char* bad : {"", "..", ".hidden", "-force", "a/b", "a b", "a\n", "\xc3\xa4"})
    CHECK_FALSE(oci::is_safe_id(bad));
  CHECK_FALSE(oci::is_safe_id(std::string(256, 'a')));
}

TEST_CASE("log URIs") {
  CHECK(parse_log_uri("/run/fifo").scheme == LogUri::kFifo);
  CHECK(parse_log_uri("").scheme == LogUri::kFifo);
  CHECK(parse_log_uri("fifo:///run/f").path == "/run/f");
  CHECK(parse_log_uri("file:///var/log/a%20b.log").path == "/var/log/a b.log");
  CHECK(parse_log_uri("gopher://x").scheme == LogUri::kUnknown);
  const auto uri = parse_log_uri("binary:///bin/logger?id=a+b&x=%2f&flag");
  CHECK(uri.scheme == LogUri::kBinary);
  CHECK(uri.path == "/bin/logger");
  CHECK(uri.query ==
        std::vector<std::pair<std::string, std::string>>{{"id", "a b"}, {"x", "/"}, {"flag", ""}});
  CHECK(parse_log_uri("file:///a%2").path == "/a%2");
}

TEST_CASE("mount options become flags, propagation and data") {
  const auto arguments =
      parse_mount_options({"rbind", "ro", "rprivate", "lowerdir=/a:/b", "index=off", "nosuid"});
  CHECK(arguments.flags == (MS_BIND | MS_REC | MS_RDONLY | MS_NOSUID));
  CHECK(arguments.propagation == (MS_PRIVATE | MS_REC));
  CHECK(arguments.data == "lowerdir=/a:/b,index=off");
  CHECK(parse_mount_options({"ro", "rw"}).flags == 0);
}

TEST_CASE("/proc/PID/cgroup in all layouts") {
  const auto paths =
      parse_proc_cgroup("4:cpu,cpuacct:/a\n2:memory:/b\n1:name=systemd:/c\n0::/d\nbroken\n");
  CHECK(paths.at("cpu") == "/a");
  CHECK(paths.at("cpuacct") == "/a");
  CHECK(paths.at("memory") == "/b");
  CHECK(paths.at("") == "/d");
  CHECK(stat_value("low 1\noom 2\noom_kill 3\n", "oom_kill") == 3);
  CHECK(stat_value("oom_kill_disable 1\n", "oom_kill") == std::nullopt);
}

TEST_CASE("the runtime's last error is what the client reads") {
  CHECK(oci::last_error_in_log("").empty());
  CHECK(
      oci::last_error_in_log(
          "{\"level\":\"warning\",\"msg\":\"w\"}\nnot json\n"
          "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"last\\n\"}\n") ==
      "last");
  CHECK(oci::last_error_in_log("{\"level\":1,\"msg\":[]}\n[]\n").empty());
}
