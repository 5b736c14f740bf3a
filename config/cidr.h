// A range of IP addresses, as "10.0.0.0/8" or "fc00::/7". A plain value; any thread.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "netstack/base/result.h"

namespace shunt::config {

/// An IPv6 address, or an IPv4 one mapped as ::ffff:a.b.c.d; network byte order.
using Address = std::array<std::uint8_t, 16>;

/// The default value is ::/0. No bit beyond the prefix is ever set: parse() refuses such text, so
/// two ranges are equal exactly if they hold the same addresses.
class Cidr {
 public:
  Cidr() = default;

  /// The error is a clause about the text: `has bits set beyond its prefix; write 10.0.0.0/8`.
  static Result<Cidr, std::string> parse(std::string_view text);

  /// An IPv4 range holds mapped addresses only, an IPv6 range never does: ::/0 means all of IPv6.
  bool contains(const Address& address) const;
  bool contains(const Cidr& other) const;

  bool is_v4() const { return v4_; }
  /// Bits of the prefix as people count them: 8 for 10.0.0.0/8.
  unsigned prefix() const { return v4_ ? bits_ - kMapped : bits_; }
  const Address& first() const { return first_; }
  std::string text() const;

  friend bool operator==(const Cidr&, const Cidr&) = default;

 private:
  static constexpr unsigned kMapped = 96;  // bits of ::ffff:0:0/96 before an IPv4 address

  Cidr(const Address& first, unsigned bits, bool v4) : first_{first}, bits_{bits}, v4_{v4} {}

  Address first_{};
  unsigned bits_ = 0;  // of the 16-byte form
  bool v4_ = false;
};

}  // namespace shunt::config
