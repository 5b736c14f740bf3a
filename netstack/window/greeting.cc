#include "netstack/window/greeting.h"

#include <algorithm>
#include <span>

namespace shunt::window {
namespace {

class Writer {
 public:
  void number(std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) out.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
  void bytes(std::span<const std::byte> more) { out.insert(out.end(), more.begin(), more.end()); }
  fabric::Bytes out;
};

class Reader {
 public:
  explicit Reader(fabric::View bytes) : rest_{bytes} {}
  std::uint64_t number(std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
      value |= std::to_integer<std::uint64_t>(rest_[i]) << (8 * i);
    rest_ = rest_.subspan(size);
    return value;
  }
  void bytes(std::span<std::byte> into) {
    std::copy_n(rest_.begin(), into.size(), into.begin());
    rest_ = rest_.subspan(into.size());
  }

 private:
  fabric::View rest_;
};

constexpr std::size_t kAdvertSize = 8 + 4 + 16 + 8 + 8 + 8 + 16;
constexpr std::size_t kGreetingSize = 8 + 4 + 8 + 16 + 16 + 4 + 4;

bool starts_well(Reader& in) { return in.number(8) == kMagic && in.number(4) == kVersion; }

}  // namespace

std::string socket_name(const Instance& instance) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name;
  for (const std::byte byte : instance) {
    name += kDigits[std::to_integer<unsigned>(byte) >> 4];
    name += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return name + ".window";
}

fabric::Bytes encode(const Advert& advert) {
  Writer out;
  out.number(kMagic, 8);
  out.number(kVersion, 4);
  out.bytes(advert.host);
  out.number(advert.device, 8);
  out.number(advert.inode, 8);
  out.bytes(advert.instance);
  out.bytes(advert.secret);
  return out.out;
}

Result<Advert> decode_advert(fabric::View bytes) {
  Reader in{bytes};
  if (bytes.size() != kAdvertSize || !starts_well(in)) return Error{EPROTO, "window hello"};
  Advert advert;
  in.bytes(advert.host);
  advert.device = in.number(8);
  advert.inode = in.number(8);
  in.bytes(advert.instance);
  in.bytes(advert.secret);
  return advert;
}

fabric::Bytes encode(const Greeting& greeting) {
  Writer out;
  out.number(kMagic, 8);
  out.number(kVersion, 4);
  out.bytes(greeting.from);
  out.bytes(greeting.secret);
  out.bytes(greeting.nonce);
  out.number(greeting.region, 4);
  out.number(greeting.epoch, 4);
  return out.out;
}

Result<Greeting> decode_greeting(fabric::View bytes) {
  Reader in{bytes};
  if (bytes.size() != kGreetingSize || !starts_well(in)) return Error{EPROTO, "window greeting"};
  Greeting greeting;
  in.bytes(greeting.from);
  in.bytes(greeting.secret);
  in.bytes(greeting.nonce);
  greeting.region = static_cast<std::uint32_t>(in.number(4));
  greeting.epoch = static_cast<std::uint32_t>(in.number(4));
  if (greeting.region < kLeastRegion || greeting.region > kMostRegion ||
      greeting.region % kSlab != 0)
    return Error{EPROTO, "window size"};
  return greeting;
}

}  // namespace shunt::window
