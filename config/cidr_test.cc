#include "config/cidr.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <string>

using namespace shunt::config;

namespace {

Address address(const std::string& text) {
  Address out{};
  const std::string mapped = text.find(':') == std::string::npos ? "::ffff:" + text : text;
  REQUIRE(::inet_pton(AF_INET6, mapped.c_str(), out.data()) == 1);
  return out;
}

Cidr range(std::string_view text) {
  auto parsed = Cidr::parse(text);
  REQUIRE(parsed);
  return *parsed;
}

std::string refusal(std::string_view text) {
  auto parsed = Cidr::parse(text);
  REQUIRE(!parsed);
  return parsed.error();
}

}  // namespace

TEST_CASE("an IPv4 range holds mapped addresses") {
  CHECK(range("10.0.0.0/8").contains(address("10.255.255.255")));
  CHECK(!range("10.0.0.0/8").contains(address("11.0.0.0")));
  CHECK(range("172.16.0.0/12").contains(address("172.31.0.1")));
  CHECK(!range("172.16.0.0/12").contains(address("172.32.0.1")));
  CHECK(range("192.0.2.7/32").contains(address("192.0.2.7")));
  CHECK(!range("192.0.2.7/32").contains(address("192.0.2.6")));
  CHECK(range("0.0.0.0/0").contains(address("255.255.255.255")));
}

TEST_CASE("an IPv6 range never holds IPv4") {
  CHECK(range("fc00::/7").contains(address("fd12::1")));
  CHECK(!range("fc00::/7").contains(address("fe80::1")));
  CHECK(range("::/0").contains(address("2001:db8::1")));
  CHECK(!range("::/0").contains(address("10.0.0.1")));
  CHECK(!range("0.0.0.0/0").contains(address("2001:db8::1")));
  CHECK(!range("0.0.0.0/0").contains(address("::1")));
}

TEST_CASE("a mapped range is the IPv4 range") {
  CHECK(range("::ffff:10.0.0.0/104") == range("10.0.0.0/8"));
  CHECK(range("::ffff:10.0.0.0/104").text() == "10.0.0.0/8");
  CHECK(range("::ffff:0:0/96") == range("0.0.0.0/0"));
}

TEST_CASE("ranges contain ranges") {
  CHECK(range("10.0.0.0/8").contains(range("10.1.0.0/16")));
  CHECK(!range("10.1.0.0/16").contains(range("10.0.0.0/8")));
  CHECK(!range("::/0").contains(range("10.0.0.0/8")));
}

TEST_CASE("the text of a range is its shortest form") {
  CHECK(range("10.0.0.0/8").text() == "10.0.0.0/8");
  CHECK(range("FC00:0::/7").text() == "fc00::/7");
  CHECK(range("10.0.0.0/8").prefix() == 8);
  CHECK(range("10.0.0.0/8").is_v4());
  CHECK(range("fc00::/7").prefix() == 7);
}

TEST_CASE("text that is no range says why") {
  CHECK(refusal("10.0.0.0") == "has no prefix length");
  CHECK(refusal("10.0.0/8") == "is not an IP address");
  CHECK(refusal("pods/8") == "is not an IP address");
  CHECK(refusal(std::string_view{"10.0.0.0\0/8", 11}) == "is not an IP address");
  CHECK(refusal("/8") == "is not an IP address");
  CHECK(refusal("fe80::1%eth0/64") == "is not an IP address");
  CHECK(refusal("10.0.0.0/33") == "needs a prefix length from 0 to 32");
  CHECK(refusal("10.0.0.0/") == "needs a prefix length from 0 to 32");
  CHECK(refusal("10.0.0.0/-1") == "needs a prefix length from 0 to 32");
  CHECK(refusal("10.0.0.0/8 ") == "needs a prefix length from 0 to 32");
  CHECK(refusal("fc00::/129") == "needs a prefix length from 0 to 128");
  CHECK(refusal("10.0.0.1/8") == "has bits set beyond its prefix; write 10.0.0.0/8");
  CHECK(refusal("fd00::1/7") == "has bits set beyond its prefix; write fc00::/7");
  CHECK(refusal("10.0.0.1/0") == "has bits set beyond its prefix; write 0.0.0.0/0");
  CHECK(refusal("::ffff:10.0.0.1/64") == "has bits set beyond its prefix; write ::/64");
}
