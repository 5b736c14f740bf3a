#include "netstack/local/conntrack.h"

#include <doctest/doctest.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "netstack/local/epoll_repair.h"

using namespace shunt;
using namespace shunt::local;

namespace {
std::span<const std::byte> attributes(NetlinkMessage& message) {
  return message.finish().subspan(NLMSG_HDRLEN);
}
NetlinkMessage reply(bool with_port) {
  NetlinkMessage message{0, 0};
  const auto tuple = message.begin_nest(CTA_TUPLE_REPLY);
  const auto ip = message.begin_nest(CTA_TUPLE_IP);
  message.attribute(CTA_IP_V4_SRC, std::array<std::uint8_t, 4>{198, 18, 0, 3});
  message.attribute(CTA_IP_V4_DST, std::array<std::uint8_t, 4>{198, 18, 0, 2});
  message.end_nest(ip);
  const auto protocol = message.begin_nest(CTA_TUPLE_PROTO);
  message.attribute(CTA_PROTO_NUM, std::uint8_t{6});
  message.attribute(CTA_PROTO_SRC_PORT, htons(8080));
  if (with_port) message.attribute(CTA_PROTO_DST_PORT, htons(40000));
  message.end_nest(protocol);
  message.end_nest(tuple);
  return message;
}
}  // namespace

TEST_CASE("the reply direction names the pod behind a service") {
  auto message = reply(true);
  const auto decoded = decode_conntrack_reply(attributes(message));
  REQUIRE(decoded);
  CHECK(to_text(decoded->from) == "198.18.0.3:8080");
  CHECK(to_text(decoded->to) == "198.18.0.2:40000");
}

TEST_CASE("an incomplete or cut conntrack message is no answer") {
  auto partial = reply(false);
  CHECK(!decode_conntrack_reply(attributes(partial)));
  auto whole = reply(true);
  const auto bytes = attributes(whole);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    CHECK(!decode_conntrack_reply(bytes.first(size)));
}

TEST_CASE("an epoll's fdinfo names number, events and data") {
  const std::string_view line =
      "tfd:       12 events: 80002019 data:     7f00deadbeef  pos:0 ino:1f sdev:8";
  const auto entry = parse_epoll_line(line, 12);
  REQUIRE(entry);
  CHECK(entry->events == 0x80002019);
  CHECK(entry->data == 0x7f00deadbeef);
  CHECK(!parse_epoll_line(line, 1));
  CHECK(!parse_epoll_line("pos:\t0", 0));
  CHECK(!parse_epoll_line("tfd:       12", 12));
}
