// Just enough netlink: one request, its replies, attributes in order. For inet_diag, unix_diag,
// ctnetlink and rtnetlink, which share this framing.
//
// A socket asks about the network namespace it was made in. Requests of these families are answered
// by the kernel within send(2), so nothing here waits for longer than the kernel works.
#pragma once

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <type_traits>
#include <vector>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt {

/// A message under construction. Attribute payloads are copied.
class NetlinkMessage {
 public:
  NetlinkMessage(std::uint16_t type, std::uint16_t flags);

  template <typename T>
  NetlinkMessage& body(const T& payload) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(&payload, sizeof payload);
    return *this;
  }
  template <typename T>
  NetlinkMessage& attribute(std::uint16_t type, const T& payload) {
    static_assert(std::is_trivially_copyable_v<T>);
    return attribute(type, std::as_bytes(std::span{&payload, 1}));
  }
  NetlinkMessage& attribute(std::uint16_t type, std::span<const std::byte> payload);
  std::size_t begin_nest(std::uint16_t type);
  void end_nest(std::size_t start);

  /// The bytes, with the length filled in.
  std::span<const std::byte> finish();

 private:
  void append(const void* data, std::size_t size);  ///< pads to 4 bytes
  std::vector<std::byte> bytes_;
};

/// Calls `each` with (type, payload) for every attribute; false if the bytes are malformed.
bool for_each_attribute(
    std::span<const std::byte> bytes,
    const std::function<void(std::uint16_t type, std::span<const std::byte> payload)>& each);

/// One datagram of replies to request number `sequence`: calls `each` with (header type, payload).
/// True: that was the last of them, which is the first one unless `many`. The kernel's error as it
/// came; EPROTO if the bytes are malformed.
Result<bool> for_each_reply(
    std::span<const std::byte> bytes, std::uint32_t sequence, bool many,
    const std::function<void(std::uint16_t type, std::span<const std::byte> payload)>& each);

/// A netlink socket. Callable from any thread; one request at a time.
class NetlinkSocket {
 public:
  /// In the namespace of the calling thread. `protocol` is NETLINK_ROUTE and so on.
  static Result<NetlinkSocket> open(int protocol);
  NetlinkSocket(NetlinkSocket&& other) noexcept : fd_{std::move(other.fd_)} {}

  /// Sends and hands over each reply (header type, payload), until the last part, an
  /// acknowledgement, or, for a request without NLM_F_DUMP and NLM_F_ACK, the first answer.
  /// The error of the kernel is returned as it came.
  Status request(
      NetlinkMessage& message,
      const std::function<void(std::uint16_t type, std::span<const std::byte> payload)>& each);

 private:
  explicit NetlinkSocket(UniqueFd fd) : fd_{std::move(fd)} {}
  UniqueFd fd_;
  std::uint32_t sequence_ = 0;
  std::mutex mutex_;
};

}  // namespace shunt
