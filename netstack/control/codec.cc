#include "netstack/control/codec.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace shunt::control {
namespace {

constexpr std::array<std::byte, 4> kMagic{std::byte{'S'}, std::byte{'H'}, std::byte{'N'},
                                          std::byte{'T'}};
constexpr std::uint8_t kFirstOptionalType = 128;

enum Type : std::uint8_t {
  kTypeHello = 1,
  kTypeVerify = 2,
  kTypeVerified = 3,
  kTypeProof = 4,
  kTypeInfo = 5,
  kTypeBye = 6,
  kTypePing = 7,
  kTypePong = 8,
  kTypeOffer = 16,
  kTypeAccept = 17,
  kTypeRefuse = 18,
  kTypeConfirm = 19,
  kTypeWithdraw = 20,
  kTypePass = 21,
  kTypeLinkStart = 32,
  kTypeLinkReady = 33,
  kTypeLinkEnd = 34,
  kTypeLink = 35,
};

class Writer {
 public:
  explicit Writer(std::uint8_t type) {
    number(std::uint32_t{0});  // the length: see finish()
    number(type);
  }
  template <typename T>
  Writer& number(T value) {
    for (std::size_t i = 0; i < sizeof value; ++i)
      bytes_.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xff));
    return *this;
  }
  Writer& raw(View bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Writer& text(std::string_view text) {
    text = text.substr(0, kMaxText);
    number(static_cast<std::uint8_t>(text.size()));
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      number(byte < 0x20 || byte == 0x7f ? std::uint8_t{'?'} : byte);
    }
    return *this;
  }
  Writer& sized(View bytes) { return number(static_cast<std::uint16_t>(bytes.size())).raw(bytes); }
  Writer& endpoint(const Endpoint& endpoint) {
    return raw(std::as_bytes(std::span{endpoint.address})).number(endpoint.port);
  }
  Writer& family(int family) {
    return number(static_cast<std::uint8_t>(family == AF_INET6 ? 6 : 4));
  }
  Writer& kind(Kind kind) { return number(static_cast<std::uint8_t>(kind)); }

  Bytes finish() {
    const auto length = static_cast<std::uint32_t>(bytes_.size() - sizeof(std::uint32_t));
    for (std::size_t i = 0; i < sizeof length; ++i)
      bytes_[i] = static_cast<std::byte>((length >> (8 * i)) & 0xff);
    return std::move(bytes_);
  }

 private:
  Bytes bytes_;
};

// Reads past the end give zeros and make `ok()` false; so does a value that is not allowed.
class Reader {
 public:
  explicit Reader(View bytes) : left_{bytes} {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && left_.empty(); }
  void require(bool condition) { ok_ = ok_ && condition; }

  template <typename T>
  T number() {
    std::uint64_t value = 0;
    std::size_t shift = 0;
    for (const std::byte byte : take(sizeof(T))) {
      value |= std::to_integer<std::uint64_t>(byte) << shift;
      shift += 8;
    }
    return static_cast<T>(value);
  }
  View take(std::size_t size) {
    require(size <= left_.size());
    if (!ok_) return {};
    const View taken = left_.first(size);
    left_ = left_.subspan(size);
    return taken;
  }
  template <std::size_t N>
  void array(std::array<std::byte, N>& out) {
    const View taken = take(N);
    std::copy(taken.begin(), taken.end(), out.begin());
  }
  // Shown to people and logged: no control characters.
  std::string text() {
    const View taken = take(number<std::uint8_t>());
    std::string out;
    for (const std::byte byte : taken) {
      const auto value = std::to_integer<unsigned char>(byte);
      require(value >= 0x20 && value != 0x7f);
      out.push_back(static_cast<char>(value));
    }
    return out;
  }
  Bytes sized(std::size_t limit) {
    const auto size = number<std::uint16_t>();
    require(size <= limit);
    const View taken = take(size);
    return {taken.begin(), taken.end()};
  }
  Endpoint endpoint() {
    Endpoint out;
    const View address = take(out.address.size());
    if (!address.empty()) std::memcpy(out.address.data(), address.data(), address.size());
    out.port = number<std::uint16_t>();
    return out;
  }
  bool flag() {
    const auto value = number<std::uint8_t>();
    require(value <= 1);
    return value == 1;
  }
  int family() {
    const auto value = number<std::uint8_t>();
    require(value == 4 || value == 6);
    return value == 6 ? AF_INET6 : AF_INET;
  }
  Kind kind() { return static_cast<Kind>(number<std::uint8_t>()); }
  StreamId stream() {
    const auto id = number<StreamId>();
    require(id != 0);
    return id;
  }

 private:
  View left_;
  bool ok_ = true;
};

struct Encoder {
  Bytes operator()(const Hello& m) const {
    return Writer{kTypeHello}
        .raw(kMagic)
        .number(m.version)
        .number(m.min_version)
        .number(std::uint8_t{m.keyed})
        .number(m.instance)
        .raw(m.nonce)
        .finish();
  }
  Bytes operator()(const Verify& m) const {
    return Writer{kTypeVerify}
        .raw(kMagic)
        .number(m.version)
        .number(m.min_version)
        .number(m.port)
        .raw(m.nonce)
        .finish();
  }
  Bytes operator()(const Verified& m) const {
    return Writer{kTypeVerified}.number(std::uint8_t{m.yours}).finish();
  }
  Bytes operator()(const Proof& m) const { return Writer{kTypeProof}.raw(m.digest).finish(); }
  Bytes operator()(const Info& m) const {
    Writer out{kTypeInfo};
    out.text(m.node).number(m.epoch).text(m.pod).number(m.offers);
    out.number(static_cast<std::uint8_t>(m.fabrics.size()));
    for (const Info::Advert& advert : m.fabrics) out.kind(advert.kind).sized(advert.bytes);
    return out.finish();
  }
  Bytes operator()(const Offer& m) const {
    return Writer{kTypeOffer}
        .number(m.stream)
        .kind(m.kind)
        .family(m.client_family)
        .endpoint(m.client)
        .endpoint(m.server)
        .endpoint(m.service)
        .sized(m.message)
        .finish();
  }
  Bytes operator()(const Accept& m) const {
    return Writer{kTypeAccept}.number(m.stream).family(m.server_family).sized(m.message).finish();
  }
  Bytes operator()(const Refuse& m) const {
    return Writer{kTypeRefuse}.number(m.stream).number(static_cast<std::uint8_t>(m.why)).finish();
  }
  Bytes operator()(const Confirm& m) const {
    return Writer{kTypeConfirm}.number(m.stream).finish();
  }
  Bytes operator()(const Withdraw& m) const {
    return Writer{kTypeWithdraw}.number(m.stream).finish();
  }
  Bytes operator()(const Pass& m) const {
    return Writer{kTypePass}.endpoint(m.client).endpoint(m.server).finish();
  }
  Bytes operator()(const LinkStart& m) const {
    return Writer{kTypeLinkStart}.kind(m.kind).number(m.attempt).finish();
  }
  Bytes operator()(const LinkReady& m) const {
    return Writer{kTypeLinkReady}.kind(m.kind).number(m.attempt).finish();
  }
  Bytes operator()(const LinkEnd& m) const {
    return Writer{kTypeLinkEnd}.kind(m.kind).number(m.attempt).text(m.why).finish();
  }
  Bytes operator()(const LinkMessage& m) const {
    return Writer{kTypeLink}.kind(m.kind).number(m.attempt).sized(m.bytes).finish();
  }
  Bytes operator()(const Ping& m) const { return Writer{kTypePing}.number(m.token).finish(); }
  Bytes operator()(const Pong& m) const { return Writer{kTypePong}.number(m.token).finish(); }
  Bytes operator()(const Bye& m) const {
    return Writer{kTypeBye}.number(static_cast<std::uint8_t>(m.reason)).text(m.why).finish();
  }
  Bytes operator()(const Unknown& m) const { return Writer{m.type}.finish(); }
};

void read_versions(Reader& in, std::uint16_t& version, std::uint16_t& min_version) {
  std::array<std::byte, kMagic.size()> magic{};
  in.array(magic);
  in.require(magic == kMagic);
  version = in.number<std::uint16_t>();
  min_version = in.number<std::uint16_t>();
  in.require(min_version >= 1 && min_version <= version);
}

Info read_info(Reader& in) {
  Info m;
  m.node = in.text();
  m.epoch = in.number<std::uint64_t>();
  m.pod = in.text();
  m.offers = in.number<std::uint32_t>();
  const auto count = in.number<std::uint8_t>();
  in.require(count <= kMaxFabrics);
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    Info::Advert advert;
    advert.kind = in.kind();
    advert.bytes = in.sized(kMaxAdvert);
    in.require(std::none_of(m.fabrics.begin(), m.fabrics.end(),
                            [&](const auto& other) { return other.kind == advert.kind; }));
    m.fabrics.push_back(std::move(advert));
  }
  return m;
}

Message read(std::uint8_t type, Reader& in) {
  switch (type) {
    case kTypeHello: {
      Hello m;
      read_versions(in, m.version, m.min_version);
      m.keyed = in.flag();
      m.instance = in.number<std::uint64_t>();
      in.array(m.nonce);
      return m;
    }
    case kTypeVerify: {
      Verify m;
      read_versions(in, m.version, m.min_version);
      m.port = in.number<std::uint16_t>();
      in.array(m.nonce);
      return m;
    }
    case kTypeVerified:
      return Verified{in.flag()};
    case kTypeProof: {
      Proof m;
      in.array(m.digest);
      return m;
    }
    case kTypeInfo:
      return read_info(in);
    case kTypeOffer: {
      Offer m;
      m.stream = in.stream();
      m.kind = in.kind();
      m.client_family = in.family();
      m.client = in.endpoint();
      m.server = in.endpoint();
      m.service = in.endpoint();
      m.message = in.sized(kMaxStreamBytes);
      return m;
    }
    case kTypeAccept: {
      Accept m;
      m.stream = in.stream();
      m.server_family = in.family();
      m.message = in.sized(kMaxStreamBytes);
      return m;
    }
    case kTypeRefuse: {
      Refuse m;
      m.stream = in.stream();
      m.why = static_cast<Refusal>(in.number<std::uint8_t>());
      in.require(m.why < Refusal::kNoAnswer);
      return m;
    }
    case kTypeConfirm:
      return Confirm{in.stream()};
    case kTypeWithdraw:
      return Withdraw{in.stream()};
    case kTypePass: {
      Pass m;
      m.client = in.endpoint();
      m.server = in.endpoint();
      in.require(m.server.port != 0);
      return m;
    }
    case kTypeLinkStart: {
      LinkStart m;
      m.kind = in.kind();
      m.attempt = in.number<std::uint32_t>();
      return m;
    }
    case kTypeLinkReady: {
      LinkReady m;
      m.kind = in.kind();
      m.attempt = in.number<std::uint32_t>();
      return m;
    }
    case kTypeLinkEnd: {
      LinkEnd m;
      m.kind = in.kind();
      m.attempt = in.number<std::uint32_t>();
      m.why = in.text();
      return m;
    }
    case kTypeLink: {
      LinkMessage m;
      m.kind = in.kind();
      m.attempt = in.number<std::uint32_t>();
      m.bytes = in.sized(kMaxLinkBytes);
      return m;
    }
    case kTypePing:
      return Ping{in.number<std::uint64_t>()};
    case kTypePong:
      return Pong{in.number<std::uint64_t>()};
    case kTypeBye: {
      Bye m;
      m.reason = static_cast<Reason>(in.number<std::uint8_t>());
      m.why = in.text();
      return m;
    }
    default:
      in.require(type >= kFirstOptionalType);
      return Unknown{type};
  }
}

// What a later version may append to.
bool may_be_longer(std::uint8_t type) {
  return type == kTypeHello || type == kTypeVerify || type == kTypeInfo || type == kTypeBye ||
         type >= kFirstOptionalType;
}

}  // namespace

Bytes encode(const Message& message) { return std::visit(Encoder{}, message); }

Framing frame(View bytes, Frame& out) {
  if (bytes.size() < sizeof(std::uint32_t)) return Framing::kMore;
  const auto length = Reader{bytes}.number<std::uint32_t>();
  if (length < 1 || length > kMaxFrame) return Framing::kBad;
  if (bytes.size() < kFrameHeader) return Framing::kMore;
  out.type = std::to_integer<std::uint8_t>(bytes[sizeof(std::uint32_t)]);
  out.size = sizeof(std::uint32_t) + length;
  if (bytes.size() < out.size) return Framing::kMore;
  out.payload = bytes.subspan(kFrameHeader, length - 1);
  return Framing::kWhole;
}

std::optional<Message> decode(std::uint8_t type, View payload) {
  Reader in{payload};
  Message message = read(type, in);
  if (!in.ok() || (!in.at_end() && !may_be_longer(type))) return std::nullopt;
  return message;
}

std::string_view name(Reason reason) {
  switch (reason) {
    case Reason::kClosing:
      return "closing";
    case Reason::kIdle:
      return "idle";
    case Reason::kVersion:
      return "version";
    case Reason::kKey:
      return "key";
    case Reason::kNotVerified:
      return "not verified";
    case Reason::kDuplicate:
      return "duplicate";
    case Reason::kProtocol:
      return "protocol";
    case Reason::kFlood:
      return "flood";
    case Reason::kBusy:
      return "busy";
  }
  return "?";
}

std::string_view name(Refusal refusal) {
  switch (refusal) {
    case Refusal::kNotListening:
      return "not listening";
    case Refusal::kNotKnown:
      return "connection not known";
    case Refusal::kGoneAhead:
      return "gone ahead";
    case Refusal::kNoRoom:
      return "no room";
    case Refusal::kBusy:
      return "busy";
    case Refusal::kOther:
      return "other";
    case Refusal::kNoAnswer:
      return "no answer";
    case Refusal::kLost:
      return "lost";
  }
  return "?";
}

}  // namespace shunt::control
