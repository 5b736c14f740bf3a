#include "netstack/base/netlink.h"

#include <sys/socket.h>

#include <array>
#include <cstring>

namespace shunt {
namespace {

constexpr std::size_t kAlign = NLMSG_ALIGNTO;
constexpr std::size_t kHeader = NLMSG_HDRLEN;
constexpr int kMostError = 4095;  // MAX_ERRNO

std::size_t aligned(std::size_t size) { return (size + kAlign - 1) & ~(kAlign - 1); }

}  // namespace

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags) {
  bytes_.reserve(256);
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
  append(&header, sizeof header);
}

void NetlinkMessage::append(const void* data, std::size_t size) {
  const auto* from = static_cast<const std::byte*>(data);
  bytes_.insert(bytes_.end(), from, from + size);
  bytes_.resize(aligned(bytes_.size()));
}

NetlinkMessage& NetlinkMessage::attribute(std::uint16_t type, std::span<const std::byte> payload) {
  const nlattr header{static_cast<std::uint16_t>(sizeof(nlattr) + payload.size()), type};
  append(&header, sizeof header);
  append(payload.data(), payload.size());
  return *this;
}

std::size_t NetlinkMessage::begin_nest(std::uint16_t type) {
  const std::size_t start = bytes_.size();
  const nlattr header{0, static_cast<std::uint16_t>(type | NLA_F_NESTED)};
  append(&header, sizeof header);
  return start;
}

void NetlinkMessage::end_nest(std::size_t start) {
  const auto length = static_cast<std::uint16_t>(bytes_.size() - start);
  std::memcpy(bytes_.data() + start, &length, sizeof length);
}

std::span<const std::byte> NetlinkMessage::finish() {
  const auto length = static_cast<std::uint32_t>(bytes_.size());
  std::memcpy(bytes_.data(), &length, sizeof length);
  return bytes_;
}

bool for_each_attribute(
    std::span<const std::byte> bytes,
    const std::function<void(std::uint16_t, std::span<const std::byte>)>& each) {
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > bytes.size()) return false;
    each(static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK),
         bytes.subspan(sizeof header, header.nla_len - sizeof header));
    bytes = bytes.subspan(std::min(aligned(header.nla_len), bytes.size()));
  }
  return bytes.empty();
}

Result<bool> for_each_reply(
    std::span<const std::byte> rest, std::uint32_t sequence, bool many,
    const std::function<void(std::uint16_t, std::span<const std::byte>)>& each) {
  while (rest.size() >= kHeader) {
    nlmsghdr header{};
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.nlmsg_len < kHeader || header.nlmsg_len > rest.size())
      return Error{EPROTO, "netlink reply"};
    const auto payload = rest.subspan(kHeader, header.nlmsg_len - kHeader);
    rest = rest.subspan(std::min<std::size_t>(aligned(header.nlmsg_len), rest.size()));
    if (header.nlmsg_seq != sequence) continue;  // left over from a request that was given up
    if (header.nlmsg_type == NLMSG_DONE) return true;
    if (header.nlmsg_type == NLMSG_ERROR) {
      int error = 0;
      if (payload.size() < sizeof error) return Error{EPROTO, "netlink reply"};
      std::memcpy(&error, payload.data(), sizeof error);
      if (error == 0) return true;
      if (error > 0 || error < -kMostError) return Error{EPROTO, "netlink reply"};
      return Error{-error, "netlink"};
    }
    each(header.nlmsg_type, payload);
    if (!many) return true;
  }
  return false;
}

Result<NetlinkSocket> NetlinkSocket::open(int protocol) {
  UniqueFd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)};
  if (!fd.valid()) return last_error("socket(AF_NETLINK)");
  const timeval bound{1, 0};  // never reached, see above; a bound all the same
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
  return NetlinkSocket{std::move(fd)};
}

Status NetlinkSocket::request(
    NetlinkMessage& message,
    const std::function<void(std::uint16_t, std::span<const std::byte>)>& each) {
  const std::lock_guard guard{mutex_};
  const std::span<const std::byte> bytes = message.finish();
  nlmsghdr header{};
  std::memcpy(&header, bytes.data(), sizeof header);
  const bool many = (header.nlmsg_flags & (NLM_F_DUMP | NLM_F_ACK)) != 0;
  const std::uint32_t sequence = ++sequence_;
  // The sequence number is the third field; written into our own copy of the message.
  std::memcpy(const_cast<std::byte*>(bytes.data()) + offsetof(nlmsghdr, nlmsg_seq), &sequence,
              sizeof sequence);
  if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) return last_error("send(netlink)");

  std::array<std::byte, 32768> buffer;  // what the kernel uses at most for one part of a dump
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return last_error("recv(netlink)");
    }
    const auto last =
        for_each_reply({buffer.data(), static_cast<std::size_t>(got)}, sequence, many, each);
    if (!last) return last.error();
    if (*last) return Done{};
  }
}

}  // namespace shunt
