#include "netstack/verbs/gid.h"

#include <doctest/doctest.h>

#include <cstring>

namespace shunt::verbs {
namespace {

ibv_gid_entry entry(const char* address, std::uint32_t index, std::uint32_t type,
                    std::uint32_t port = 1) {
  ibv_gid_entry made{};
  const IpAddress bytes = *parse_address(address);
  std::memcpy(made.gid.raw, bytes.data(), bytes.size());
  made.gid_index = index;
  made.gid_type = type;
  made.port_num = port;
  return made;
}

Gid gid(const char* address, std::uint8_t index) { return {*parse_address(address), index}; }

const Route kNoRoute = [](const IpAddress&) { return std::optional<IpAddress>{}; };

}  // namespace

TEST_CASE("on Ethernet only RoCE v2 addresses of the port are usable") {
  const std::vector<ibv_gid_entry> table{entry("fe80::1", 0, IBV_GID_TYPE_ROCE_V1),
                                         entry("fe80::1", 1, IBV_GID_TYPE_ROCE_V2),
                                         entry("192.0.2.1", 2, IBV_GID_TYPE_ROCE_V1),
                                         entry("192.0.2.1", 3, IBV_GID_TYPE_ROCE_V2),
                                         entry("192.0.2.9", 4, IBV_GID_TYPE_ROCE_V2, 2),
                                         entry("2001:db8::1", 5, IBV_GID_TYPE_ROCE_V2)};
  CHECK(usable(table, 1, true) == std::vector{gid("192.0.2.1", 3), gid("2001:db8::1", 5)});
  CHECK(usable(table, 2, true) == std::vector{gid("192.0.2.9", 4)});
}

TEST_CASE("link-local addresses are better than none") {
  const std::vector<ibv_gid_entry> table{entry("fe80::1", 1, IBV_GID_TYPE_ROCE_V2)};
  CHECK(usable(table, 1, true) == std::vector{gid("fe80::1", 1)});
  CHECK(usable({entry("fe80::2", 0, IBV_GID_TYPE_IB)}, 1, false) == std::vector{gid("fe80::2", 0)});
}

TEST_CASE("the configured index wins, or nothing does") {
  const std::vector ours{gid("192.0.2.1", 3), gid("2001:db8::1", 5)};
  const std::vector theirs{*parse_address("192.0.2.2"), *parse_address("2001:db8::2")};
  const auto pair = choose(ours, theirs, 5, kNoRoute);
  REQUIRE(pair);
  CHECK(pair->ours.index == 5);
  CHECK(pair->theirs == *parse_address("2001:db8::2"));
  CHECK_FALSE(choose(ours, theirs, 4, kNoRoute));
  CHECK_FALSE(choose({gid("192.0.2.1", 3)}, {*parse_address("2001:db8::2")}, 3, kNoRoute));
}

TEST_CASE("the route to the peer decides") {
  const std::vector ours{gid("192.0.2.1", 3), gid("198.18.0.1", 7)};
  const std::vector theirs{*parse_address("192.0.2.2"), *parse_address("198.18.0.2")};
  const Route route = [](const IpAddress& to) -> std::optional<IpAddress> {
    if (to == *parse_address("198.18.0.2")) return *parse_address("198.18.0.1");
    return *parse_address("192.0.2.200");  // an address the device does not have
  };
  const auto pair = choose(ours, theirs, -1, route);
  REQUIRE(pair);
  CHECK(pair->ours.index == 7);
  CHECK(pair->theirs == theirs[1]);
}

TEST_CASE("without a route the first of one family is taken") {
  const auto pair = choose({gid("192.0.2.1", 3), gid("2001:db8::1", 5)},
                           {*parse_address("2001:db8::2")}, -1, kNoRoute);
  REQUIRE(pair);
  CHECK(pair->ours.index == 5);
  CHECK_FALSE(choose({}, {*parse_address("2001:db8::2")}, -1, kNoRoute));
  CHECK_FALSE(choose({gid("192.0.2.1", 3)}, {}, -1, kNoRoute));
}

TEST_CASE("a route look-up gives the address of this host towards another") {
  CHECK(route_source(*parse_address("127.0.0.1")) == parse_address("127.0.0.1"));
}

}  // namespace shunt::verbs
