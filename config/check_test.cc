#include "config/check.h"

#include <doctest/doctest.h>

using namespace shunt::config;
using namespace std::chrono_literals;

namespace {

/// What check() says about a config changed by `change`, one line each.
template <typename F>
std::string complaints(F change) {
  Config config;
  change(config);
  std::string out;
  for (const Complaint& complaint : check(config)) {
    CHECK(complaint.text.find(complaint.key) == 1);  // the text begins with the quoted key
    out += (out.empty() ? "" : "\n") + complaint.text;
  }
  return out;
}

}  // namespace

TEST_CASE("the defaults make sense") { CHECK(check(Config{}).empty()); }

TEST_CASE("paths are absolute and clean") {
  for (const char* path :
       {"", "/", "run/shunt", "/run/shunt/", "/run//shunt", "/run/../shunt", "/."})
    CHECK(complaints([&](Config& c) { c.state = path; }) ==
          "\"state\" must be an absolute path without . or .., not \"" + std::string{path} + '"');
  CHECK(complaints([](Config& c) { c.state = '/' + std::string(60, 'x'); }) ==
        "\"state\" must be at most 60 bytes long, since sockets are made below it; it has 61");
  CHECK(complaints([](Config& c) { c.runtime.root = "runc"; }) ==
        "\"runtime.root\" must be empty or an absolute path without . or .., not \"runc\"");
  CHECK(complaints([](Config& c) { c.runtime.root = "/run/my..runc"; }).empty());
}

TEST_CASE("the runtime is a name or an absolute path") {
  for (const char* path : {"crun", "/usr/sbin/runc"})
    CHECK(complaints([&](Config& c) { c.runtime.binary = path; }).empty());
  for (const char* path : {"", "..", "bin/runc", "./runc"})
    CHECK(complaints([&](Config& c) { c.runtime.binary = path; }) ==
          "\"runtime.binary\" must be a program's name or its absolute path, not \"" +
              std::string{path} + '"');
}

TEST_CASE("numbers have limits") {
  CHECK(complaints([](Config& c) { c.runtime.timeout = 999ms; }) ==
        "\"runtime.timeout\" must be between 1s and 1h, not 999ms");
  CHECK(complaints([](Config& c) { c.stdio.drain_timeout = 601s; }) ==
        "\"stdio.drain_timeout\" must be between 0s and 10m, not 601s");
  CHECK(complaints([](Config& c) { c.events.queue = 0; }) ==
        "\"events.queue\" must be between 16 and 1000000, not 0");
  CHECK(complaints([](Config& c) { c.upgrade.send_buffer = 1U << 30U; }) ==
        "\"upgrade.send_buffer\" must be between 64KiB and 512MiB, not 1GiB");
}

TEST_CASE("ranges can lead to pods") {
  const auto with = [](std::initializer_list<const char*> texts) {
    return complaints([&](Config& c) {
      c.upgrade.ranges.clear();
      for (const char* text : texts) c.upgrade.ranges.push_back(*Cidr::parse(text));
    });
  };
  CHECK(with({"0.0.0.0/0", "::/0"}).empty());
  CHECK(with({}).empty());
  CHECK(with({"127.1.0.0/16"}) ==
        "\"upgrade.ranges\" must not hold loopback addresses (127.1.0.0/16); that is "
        "upgrade.loopback");
  CHECK(with({"::1/128"}) ==
        "\"upgrade.ranges\" must not hold loopback addresses (::1/128); that is upgrade.loopback");
  CHECK(with({"ff02::/16"}) == "\"upgrade.ranges\" must not hold multicast addresses (ff02::/16)");
  CHECK(with({"10.0.0.0/8", "fc00::/7", "10.0.0.0/8"}) ==
        "\"upgrade.ranges\" must not list 10.0.0.0/8 twice");
  CHECK(complaints([](Config& c) { c.upgrade.ranges.resize(257); }) ==
        "\"upgrade.ranges\" must have at most 256 ranges, not 257");
}

TEST_CASE("an upgrade of nothing is a contradiction") {
  CHECK(complaints([](Config& c) {
          c.upgrade.ranges.clear();
          c.upgrade.loopback = false;
        }) ==
        "\"upgrade.ranges\" is empty and \"upgrade.loopback\" is false, so nothing could be "
        "upgraded; set \"upgrade.enabled\" to false if that is meant");
  CHECK(complaints([](Config& c) {
          c.upgrade.ranges.clear();
          c.upgrade.loopback = false;
          c.upgrade.enabled = false;
        }).empty());
}

TEST_CASE("every complaint is returned") {
  CHECK(complaints([](Config& c) {
          c.state = "x";
          c.events.queue = 1;
        }) ==
        "\"state\" must be an absolute path without . or .., not \"x\"\n"
        "\"events.queue\" must be between 16 and 1000000, not 1");
}

TEST_CASE("fabrics: ports, addresses and the window's directory") {
  CHECK(complaints([](Config& c) { c.fabrics.host.port = 65500; }) ==
        "\"fabrics.host.ports\" reaches beyond port 65535: 256 ports from 65500 on");
  for (const char* address : {"node-1", "127.0.0.1", "::"})
    CHECK(complaints([&](Config& c) { c.fabrics.host.address = address; }) ==
          "\"fabrics.host.address\" must be empty or an address of this node, not \"" +
              std::string{address} + '"');
  CHECK(complaints([](Config& c) { c.fabrics.host.address = "192.0.2.1"; }).empty());
  CHECK(complaints([](Config& c) {
          c.fabrics.enabled = {FabricName::kHost, FabricName::kHost};
        }) == "\"fabrics.enabled\" must not name a fabric twice: [host, host]");
  CHECK(complaints([](Config& c) { c.fabrics.enabled = {FabricName::kWindow}; }) ==
        "\"fabrics.window.directory\" is empty although \"fabrics.enabled\" names window");
  CHECK(complaints([](Config& c) { c.fabrics.enabled = {}; }).empty());
}
