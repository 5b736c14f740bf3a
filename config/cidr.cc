#include "config/cidr.h"

#include <arpa/inet.h>
#include <fmt/core.h>

#include <algorithm>
#include <charconv>

namespace shunt::config {
namespace {

constexpr Address kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped(const Address& address) {
  return std::equal(address.begin(), address.begin() + 12, kMappedPrefix.begin());
}

/// The bits of byte `index` that a prefix of `bits` covers.
std::uint8_t mask(unsigned bits, unsigned index) {
  const unsigned start = index * 8;
  if (bits >= start + 8) return 0xff;
  if (bits <= start) return 0;
  return static_cast<std::uint8_t>(0xffU << (8 - (bits - start)));
}

Address masked(Address address, unsigned bits) {
  for (unsigned i = 0; i < address.size(); ++i) address[i] &= mask(bits, i);
  return address;
}

}  // namespace

Result<Cidr, std::string> Cidr::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::string{"has no prefix length"};

  const std::string host{text.substr(0, slash)};  // inet_pton wants its terminating zero
  if (host.find('\0') != std::string::npos) return std::string{"is not an IP address"};
  Address address = kMappedPrefix;
  bool v4 = ::inet_pton(AF_INET, host.c_str(), address.data() + 12) == 1;
  if (!v4 && ::inet_pton(AF_INET6, host.c_str(), address.data()) != 1)
    return std::string{"is not an IP address"};

  const std::string_view length = text.substr(slash + 1);
  const unsigned most = v4 ? 32 : 128;
  unsigned bits = 0;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bits);
  if (error != std::errc{} || end != length.data() + length.size() || bits > most)
    return fmt::format("needs a prefix length from 0 to {}", most);

  if (v4) bits += kMapped;
  if (!v4 && bits >= kMapped) v4 = is_mapped(address);  // ::ffff:10.0.0.0/104 is 10.0.0.0/8
  const Cidr range{masked(address, bits), bits, v4};
  if (range.first_ != address)
    return fmt::format("has bits set beyond its prefix; write {}", range.text());
  return range;
}

bool Cidr::contains(const Address& address) const {
  return is_mapped(address) == v4_ && masked(address, bits_) == first_;
}

bool Cidr::contains(const Cidr& other) const {
  return v4_ == other.v4_ && bits_ <= other.bits_ && masked(other.first_, bits_) == first_;
}

std::string Cidr::text() const {
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (v4_)
    ::inet_ntop(AF_INET, first_.data() + 12, host.data(), host.size());
  else
    ::inet_ntop(AF_INET6, first_.data(), host.data(), host.size());
  return fmt::format("{}/{}", host.data(), prefix());
}

}  // namespace shunt::config
