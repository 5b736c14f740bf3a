#include "netstack/verbs/bootstrap.h"

#include <bit>
#include <cerrno>
#include <concepts>
#include <cstring>

namespace shunt::verbs {
namespace {

constexpr std::uint8_t kPropose = 1;
constexpr std::uint8_t kAccept = 2;
constexpr std::uint8_t kReady = 3;
constexpr std::uint8_t kFailed = 4;

constexpr std::uint32_t kMaxNumber = (1u << 24) - 1;

/// Little-endian, no padding.
class Writer {
 public:
  template <std::unsigned_integral T>
  Writer& put(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xff));
    return *this;
  }
  Writer& put(const IpAddress& address) {
    for (const std::uint8_t byte : address) put(byte);
    return *this;
  }
  fabric::Bytes take() { return std::move(bytes_); }

 private:
  fabric::Bytes bytes_;
};

/// Reads past the end give zeroes and make done() false.
class Reader {
 public:
  explicit Reader(fabric::View bytes) : left_{bytes} {}
  template <std::unsigned_integral T>
  T get() {
    T value = 0;
    if (left_.size() < sizeof(T)) {
      good_ = false;
      left_ = {};
      return value;
    }
    for (std::size_t i = 0; i < sizeof(T); ++i)
      value =
          static_cast<T>(value | static_cast<T>(static_cast<std::uint64_t>(left_[i]) << (8 * i)));
    left_ = left_.subspan(sizeof(T));
    return value;
  }
  IpAddress address() {
    IpAddress address{};
    for (std::uint8_t& byte : address) byte = get<std::uint8_t>();
    return address;
  }
  bool done() const { return good_ && left_.empty(); }

 private:
  fabric::View left_;
  bool good_ = true;
};

void put(Writer& out, const Terms& terms) {
  out.put(terms.gid).put(terms.peer_gid).put(terms.lid).put(terms.mtu);
  out.put(terms.messages).put(terms.ring).put(terms.credits);
  out.put(static_cast<std::uint8_t>(terms.lanes.size()));
  for (const LaneTerms& lane : terms.lanes) out.put(lane.number).put(lane.packet);
}

std::optional<Terms> get_terms(Reader& in) {
  Terms terms;
  terms.gid = in.address();
  terms.peer_gid = in.address();
  terms.lid = in.get<std::uint16_t>();
  terms.mtu = in.get<std::uint8_t>();
  terms.messages = in.get<std::uint32_t>();
  terms.ring = in.get<std::uint32_t>();
  terms.credits = in.get<std::uint16_t>();
  const auto lanes = in.get<std::uint8_t>();
  if (lanes == 0 || lanes > kMaxLanes) return {};
  for (unsigned i = 0; i < lanes; ++i) {
    LaneTerms lane;
    lane.number = in.get<std::uint32_t>();
    lane.packet = in.get<std::uint32_t>();
    if (lane.number > kMaxNumber || lane.packet > kMaxNumber) return {};
    terms.lanes.push_back(lane);
  }
  const bool sizes = std::has_single_bit(terms.ring) && terms.ring >= 16384 &&
                     terms.ring <= (256u << 10) && terms.credits >= 16 && terms.credits <= 8192;
  const bool mtu = terms.mtu >= 1 && terms.mtu <= 5;  // IBV_MTU_256 .. IBV_MTU_4096
  if (!in.done() || !sizes || !mtu) return {};
  return terms;
}

struct Encode {
  Writer& out;
  void operator()(const Propose& message) const { put(out.put(kPropose), message.terms); }
  void operator()(const Accept& message) const { put(out.put(kAccept), message.terms); }
  void operator()(const Ready&) const { out.put(kReady); }
  void operator()(const Failed& message) const {
    out.put(kFailed).put(static_cast<std::uint32_t>(message.error));
  }
};

}  // namespace

fabric::Bytes encode(const Hello& hello) {
  Writer out;
  out.put(kVersion).put(static_cast<std::uint8_t>(hello.ethernet ? 1 : 0)).put(hello.lanes);
  out.put(hello.region).put(hello.slab).put(static_cast<std::uint8_t>(hello.gids.size()));
  for (const IpAddress& gid : hello.gids) out.put(gid);
  return out.take();
}

std::optional<Hello> decode_hello(fabric::View bytes) {
  Reader in{bytes};
  Hello hello;
  if (in.get<std::uint8_t>() != kVersion) return {};
  const auto layer = in.get<std::uint8_t>();
  hello.ethernet = layer == 1;
  hello.lanes = in.get<std::uint8_t>();
  hello.region = in.get<std::uint32_t>();
  hello.slab = in.get<std::uint32_t>();
  const auto gids = in.get<std::uint8_t>();
  if (layer > 1 || gids == 0 || gids > kMaxGids) return {};
  for (unsigned i = 0; i < gids; ++i) hello.gids.push_back(in.address());
  const bool sizes = hello.lanes >= 1 && hello.lanes <= kMaxLanes &&
                     std::has_single_bit(hello.slab) && hello.slab >= (64u << 10) &&
                     hello.region >= hello.slab && hello.region % hello.slab == 0;
  if (!in.done() || !sizes) return {};
  return hello;
}

fabric::Bytes encode(const Message& message) {
  Writer out;
  std::visit(Encode{out}, message);
  return out.take();
}

std::optional<Message> decode_message(fabric::View bytes) {
  Reader in{bytes};
  switch (in.get<std::uint8_t>()) {
    case kPropose:
      if (auto terms = get_terms(in)) return Propose{std::move(*terms)};
      return {};
    case kAccept:
      if (auto terms = get_terms(in)) return Accept{std::move(*terms)};
      return {};
    case kReady:
      if (in.done()) return Ready{};
      return {};
    case kFailed: {
      const auto number = in.get<std::uint32_t>();
      if (in.done() && number > 0 && number < 4096) return Failed{static_cast<int>(number)};
      return {};
    }
    default:
      return {};
  }
}

}  // namespace shunt::verbs
