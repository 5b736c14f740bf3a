#include "netstack/control/codec.h"

#include <doctest/doctest.h>

#include <string>

#include "netstack/control/proof.h"

using namespace shunt;
using namespace shunt::control;

namespace {

Bytes bytes_of(std::string_view text) {
  const View view = std::as_bytes(std::span{text});
  return {view.begin(), view.end()};
}

std::string hex(View bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes) {
    out += kDigits[std::to_integer<unsigned>(byte) >> 4];
    out += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return out;
}

Nonce counting(unsigned from) {
  Nonce nonce{};
  for (std::byte& byte : nonce) byte = static_cast<std::byte>(from++);
  return nonce;
}

const Endpoint kClient = *parse_endpoint("198.18.0.2:40000");
const Endpoint kServer = *parse_endpoint("198.18.1.3:80");
const Endpoint kService = *parse_endpoint("[fd00::1]:8080");

// One of each kind, nothing left at its default.
std::vector<Message> one_of_each() {
  return {
      Hello{3, 2, true, 0x1122334455667788, counting(1)},
      Verify{3, 1, 40001, counting(2)},
      Verified{true},
      Proof{hmac_sha256(bytes_of("key"), bytes_of("text"))},
      Info{"node-a", 77, "default/web", 1024, {{Kind::kVerbs, bytes_of("gid")}, {Kind::kHost, {}}}},
      Offer{5, Kind::kWindow, kClient, kServer, kService, AF_INET6, bytes_of("ring")},
      Accept{5, AF_INET6, bytes_of("ring")},
      Refuse{5, Refusal::kGoneAhead},
      Confirm{5},
      Withdraw{0xfffffffe},
      Pass{kClient, kServer},
      LinkStart{Kind::kVerbs, 2},
      LinkReady{Kind::kVerbs, 2},
      LinkEnd{Kind::kVerbs, 2, "no port is active"},
      LinkMessage{Kind::kVerbs, 2, bytes_of("qp")},
      Ping{0x8877665544332211},
      Pong{7},
      Bye{Reason::kVersion, "too old"},
      Unknown{200},
  };
}

std::optional<Message> decoded(View bytes) {
  Frame whole;
  if (frame(bytes, whole) != Framing::kWhole || whole.size != bytes.size()) return std::nullopt;
  return decode(whole.type, whole.payload);
}

// The same frame with its payload cut or extended.
std::optional<Message> with_payload(const Message& message, std::ptrdiff_t change) {
  const Bytes whole = encode(message);
  Bytes payload{whole.begin() + kFrameHeader, whole.end()};
  payload.resize(static_cast<std::size_t>(static_cast<std::ptrdiff_t>(payload.size()) + change));
  return decode(std::to_integer<std::uint8_t>(whole.at(4)), payload);
}

std::optional<Message> with_byte(const Message& message, std::size_t at, unsigned value) {
  Bytes whole = encode(message);
  whole.at(kFrameHeader + at) = static_cast<std::byte>(value);
  return decoded(whole);
}

}  // namespace

TEST_CASE("every message comes back as it was") {
  const auto all = one_of_each();
  CHECK(all.size() == std::variant_size_v<Message>);
  for (const Message& message : all) {
    CAPTURE(message.index());
    CHECK(decoded(encode(message)) == message);
  }
}

TEST_CASE("no message is read past its end, and none with less than all of it") {
  for (const Message& message : one_of_each()) {
    CAPTURE(message.index());
    if (std::holds_alternative<Unknown>(message)) continue;  // has no payload that matters
    const auto size = static_cast<std::ptrdiff_t>(encode(message).size() - kFrameHeader);
    for (std::ptrdiff_t missing = 1; missing <= size; ++missing)
      CHECK_FALSE(with_payload(message, -missing));
  }
}

TEST_CASE("only what a later version may lengthen can be longer") {
  for (const Message& message : one_of_each()) {
    CAPTURE(message.index());
    const bool open =
        std::holds_alternative<Hello>(message) || std::holds_alternative<Verify>(message) ||
        std::holds_alternative<Info>(message) || std::holds_alternative<Bye>(message) ||
        std::holds_alternative<Unknown>(message);
    CHECK((with_payload(message, 3) == message) == open);
  }
}

TEST_CASE("frames: how much is there, and what can be none") {
  const Bytes ping = encode(Ping{1});
  Frame out;
  for (std::size_t have = 0; have < ping.size(); ++have)
    CHECK(frame(View{ping}.first(have), out) == Framing::kMore);
  Bytes two = ping;
  two.insert(two.end(), ping.begin(), ping.end());
  CHECK(frame(two, out) == Framing::kWhole);
  CHECK(out.size == ping.size());
  CHECK(out.type == 7);
  CHECK(out.payload.size() == 8);

  const auto length = [](std::uint32_t value) {
    Bytes bytes;
    for (unsigned shift = 0; shift < 32; shift += 8)
      bytes.push_back(static_cast<std::byte>((value >> shift) & 0xff));
    return bytes;
  };
  CHECK(frame(length(0), out) == Framing::kBad);  // not even a type
  CHECK(frame(length(65536), out) == Framing::kMore);
  CHECK(frame(length(65537), out) == Framing::kBad);
  CHECK(frame(length(0xffffffff), out) == Framing::kBad);
  CHECK(frame(bytes_of("GET / HTTP/1.1\r\n"), out) == Framing::kBad);
  CHECK(frame(bytes_of("SSH-2.0-x\r\n"), out) == Framing::kBad);
}

TEST_CASE("the largest messages fit into a frame") {
  const std::string text(kMaxText, 'x');
  Info info{text, 1, text, 1, {}};
  for (std::size_t i = 0; i < kMaxFabrics; ++i)
    info.fabrics.push_back({static_cast<Kind>(i), Bytes(kMaxAdvert)});
  CHECK(decoded(encode(info)) == Message{info});
  const LinkMessage link{Kind::kHost, 1, Bytes(kMaxLinkBytes)};
  CHECK(decoded(encode(link)) == Message{link});
  Offer offer{1, Kind::kHost, kClient, kServer, kServer, AF_INET, Bytes(kMaxStreamBytes)};
  CHECK(decoded(encode(offer)) == Message{offer});
}

TEST_CASE("what is malformed besides its length") {
  const Hello hello{3, 2, true, 1, counting(1)};
  CHECK_FALSE(with_byte(hello, 0, 'X'));  // magic
  CHECK_FALSE(with_byte(hello, 6, 4));    // oldest version above the newest
  CHECK_FALSE(with_byte(hello, 6, 0));    // version 0
  CHECK_FALSE(with_byte(hello, 8, 2));    // a flag that is neither
  const Verify verify{3, 2, 1, counting(1)};
  CHECK_FALSE(with_byte(verify, 3, 'X'));
  CHECK_FALSE(with_byte(verify, 6, 4));
  CHECK_FALSE(with_byte(Verified{true}, 0, 2));

  Info info{"n", 1, "p", 1, {{Kind::kHost, {}}, {Kind::kVerbs, {}}}};
  CHECK(decoded(encode(info)));
  CHECK_FALSE(with_byte(info, 1, '\n'));  // names are shown to people
  CHECK_FALSE(with_byte(info, 1, 0x7f));
  CHECK(with_byte(info, 1, 0xc3));
  info.fabrics[1].kind = Kind::kHost;
  CHECK_FALSE(decoded(encode(info)));  // one kind twice
  info.fabrics = std::vector<Info::Advert>(kMaxFabrics + 1);
  for (std::size_t i = 0; i < info.fabrics.size(); ++i) info.fabrics[i].kind = static_cast<Kind>(i);
  CHECK_FALSE(decoded(encode(info)));
  info.fabrics = {{Kind::kHost, Bytes(kMaxAdvert + 1)}};
  CHECK_FALSE(decoded(encode(info)));

  Offer offer{5, Kind::kHost, kClient, kServer, kService, AF_INET, {}};
  CHECK_FALSE(with_byte(offer, 0, 0));  // stream 0
  CHECK_FALSE(with_byte(offer, 5, 5));  // IPv5
  offer.message = Bytes(kMaxStreamBytes + 1);
  CHECK_FALSE(decoded(encode(offer)));
  CHECK_FALSE(with_byte(Accept{5, AF_INET, {}}, 4, 0));
  CHECK_FALSE(decoded(encode(Accept{0, AF_INET, {}})));
  CHECK_FALSE(decoded(encode(Accept{5, AF_INET, Bytes(kMaxStreamBytes + 1)})));
  CHECK_FALSE(decoded(encode(Refuse{0, Refusal::kBusy})));
  CHECK_FALSE(decoded(encode(Refuse{1, Refusal::kNoAnswer})));  // never travels
  CHECK_FALSE(decoded(encode(Confirm{0})));
  CHECK_FALSE(decoded(encode(Withdraw{0})));
  CHECK_FALSE(decoded(encode(LinkMessage{Kind::kHost, 1, Bytes(kMaxLinkBytes + 1)})));
  CHECK_FALSE(with_byte(LinkEnd{Kind::kHost, 1, "x"}, 6, 0x1b));  // an escape sequence for a log
}

TEST_CASE("a type nobody knows is skipped from 128 on only") {
  CHECK_FALSE(decode(0, {}));
  CHECK_FALSE(decode(127, {}));
  CHECK(decode(128, {}) == Message{Unknown{128}});
  CHECK(decode(255, bytes_of("later")) == Message{Unknown{255}});
}

TEST_CASE("text that is too long is cut, not sent wrong") {
  const auto message = decoded(encode(Bye{Reason::kProtocol, std::string(1000, 'x')}));
  REQUIRE(message);
  CHECK(std::get<Bye>(*message).why == std::string(kMaxText, 'x'));
}

TEST_CASE("HMAC-SHA256 is that of RFC 4231") {
  CHECK(hex(hmac_sha256(Bytes(20, std::byte{0x0b}), bytes_of("Hi There"))) ==
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(hex(hmac_sha256(bytes_of("Jefe"), bytes_of("what do ya want for nothing?"))) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(hex(hmac_sha256(Bytes(131, std::byte{0xaa}),
                        bytes_of("Test Using Larger Than Block-Size Key - Hash Key First"))) ==
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST_CASE("a proof holds for one connection, one side and one pair of pods") {
  const Bytes first = encode(Hello{1, 1, true, 1, counting(1)});
  const Bytes second = encode(Hello{1, 1, true, 2, counting(2)});
  const Transcript was{first, second, kClient.address, kServer.address};
  const Digest proof = prove("a cluster key", Role::kDialling, was);
  CHECK(same(proof, prove("a cluster key", Role::kDialling, was)));
  CHECK_FALSE(same(proof, prove("another key", Role::kDialling, was)));
  CHECK_FALSE(same(proof, prove("a cluster key", Role::kDialled, was)));
  Transcript other = was;
  std::swap(other.dialled_hello, other.dialling_hello);
  CHECK_FALSE(same(proof, prove("a cluster key", Role::kDialling, other)));
  other = was;
  std::swap(other.dialled, other.dialling);
  CHECK_FALSE(same(proof, prove("a cluster key", Role::kDialling, other)));
  other = was;
  other.dialling = kService.address;
  CHECK_FALSE(same(proof, prove("a cluster key", Role::kDialling, other)));
}

TEST_CASE("the exchange that WIRE.md shows in hex") {
  CHECK(hex(encode(Ping{1})) == "09000000070100000000000000");
  CHECK(hex(encode(Confirm{5})) == "050000001305000000");
  CHECK(hex(encode(Hello{1, 1, false, 0x0807060504030201, counting(0)})) ==
        "32000000"
        "01"
        "53484e54"
        "0100"
        "0100"
        "00"
        "0102030405060708"
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  CHECK(hex(encode(Offer{1, Kind::kHost, kClient, kServer, kServer, AF_INET, bytes_of("tok")})) ==
        "42000000"
        "10"
        "01000000"
        "01"
        "04"
        "00000000000000000000ffffc6120002"
        "409c"
        "00000000000000000000ffffc6120103"
        "5000"
        "00000000000000000000ffffc6120103"
        "5000"
        "0300"
        "746f6b");
}
