#include "netstack/local/conntrack.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <algorithm>
#include <cstring>

namespace shunt::local {
namespace {

void put_tuple(NetlinkMessage& message, const Endpoint& from, const Endpoint& to) {
  const bool v4 = is_v4(from.address);
  const auto bytes = [&](const Endpoint& endpoint) {
    return std::as_bytes(std::span{endpoint.address}).subspan(v4 ? 12 : 0);
  };
  const std::size_t tuple = message.begin_nest(CTA_TUPLE_ORIG);
  const std::size_t ip = message.begin_nest(CTA_TUPLE_IP);
  message.attribute(v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, bytes(from));
  message.attribute(v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, bytes(to));
  message.end_nest(ip);
  const std::size_t protocol = message.begin_nest(CTA_TUPLE_PROTO);
  message.attribute(CTA_PROTO_NUM, std::uint8_t{IPPROTO_TCP});
  message.attribute(CTA_PROTO_SRC_PORT, htons(from.port));
  message.attribute(CTA_PROTO_DST_PORT, htons(to.port));
  message.end_nest(protocol);
  message.end_nest(tuple);
}

bool take_address(std::span<const std::byte> payload, IpAddress& address) {
  constexpr std::size_t kV4 = 4;
  if (payload.size() != kV4 && payload.size() != address.size()) return false;
  address = {};
  if (payload.size() == kV4) address[10] = address[11] = 0xff;
  std::memcpy(address.data() + (address.size() - payload.size()), payload.data(), payload.size());
  return true;
}

bool take_port(std::span<const std::byte> payload, std::uint16_t& port) {
  if (payload.size() != sizeof port) return false;
  std::memcpy(&port, payload.data(), sizeof port);
  port = ntohs(port);
  return true;
}

}  // namespace

std::optional<Conntrack::Reply> decode_conntrack_reply(std::span<const std::byte> attributes) {
  Conntrack::Reply reply;
  int fields = 0;  // addresses and ports seen, four make a tuple
  const auto ip = [&](std::uint16_t type, std::span<const std::byte> payload) {
    if (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC)
      fields += take_address(payload, reply.from.address) ? 1 : 0;
    if (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST)
      fields += take_address(payload, reply.to.address) ? 1 : 0;
  };
  const auto protocol = [&](std::uint16_t type, std::span<const std::byte> payload) {
    if (type == CTA_PROTO_SRC_PORT) fields += take_port(payload, reply.from.port) ? 1 : 0;
    if (type == CTA_PROTO_DST_PORT) fields += take_port(payload, reply.to.port) ? 1 : 0;
  };
  const auto tuple = [&](std::uint16_t type, std::span<const std::byte> payload) {
    if (type == CTA_TUPLE_IP) for_each_attribute(payload, ip);
    if (type == CTA_TUPLE_PROTO) for_each_attribute(payload, protocol);
  };
  for_each_attribute(attributes, [&](std::uint16_t type, std::span<const std::byte> payload) {
    if (type == CTA_TUPLE_REPLY) for_each_attribute(payload, tuple);
  });
  if (fields != 4) return std::nullopt;
  return reply;
}

Result<Conntrack> Conntrack::open() {
  auto socket = NetlinkSocket::open(NETLINK_NETFILTER);
  if (!socket) return socket.error();
  return Conntrack{std::move(*socket)};
}

Result<std::optional<Conntrack::Reply>> Conntrack::find(const Endpoint& client,
                                                        const Endpoint& service) {
  NetlinkMessage message{NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, 0};
  nfgenmsg family{};
  family.nfgen_family = static_cast<std::uint8_t>(is_v4(client.address) ? AF_INET : AF_INET6);
  message.body(family);
  put_tuple(message, client, service);
  std::optional<Reply> found;
  const Status asked = socket_.request(message, [&](std::uint16_t, auto payload) {
    if (payload.size() < sizeof(nfgenmsg)) return;
    found = decode_conntrack_reply(payload.subspan(sizeof(nfgenmsg)));
  });
  if (!asked && asked.error().number != ENOENT) return asked.error();
  return found;
}

}  // namespace shunt::local
