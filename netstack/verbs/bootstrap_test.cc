#include "netstack/verbs/bootstrap.h"

#include <doctest/doctest.h>

#include <random>

namespace shunt::verbs {
namespace {

Hello hello() {
  Hello made;
  made.ethernet = true;
  made.lanes = 4;
  made.region = 8u << 20;
  made.slab = 1u << 20;
  made.gids = {*parse_address("192.0.2.1"), *parse_address("2001:db8::1")};
  return made;
}

Terms terms() {
  Terms made;
  made.gid = *parse_address("192.0.2.1");
  made.peer_gid = *parse_address("192.0.2.2");
  made.lid = 7;
  made.mtu = 3;
  made.messages = 0xfedc1234;
  made.ring = 32768;
  made.credits = 128;
  made.lanes = {{0xabcdef, 1}, {17, 0xffffff}};
  return made;
}

}  // namespace

TEST_CASE("hello comes back as it was, and is short") {
  const fabric::Bytes bytes = encode(hello());
  CHECK(bytes.size() < 512);
  CHECK(decode_hello(bytes) == hello());
}

TEST_CASE("messages come back as they were") {
  const auto accepted = decode_message(encode(Accept{terms()}));
  REQUIRE(accepted);
  REQUIRE(std::holds_alternative<Accept>(*accepted));
  CHECK(std::get<Accept>(*accepted).terms == terms());
  const auto proposed = decode_message(encode(Propose{terms()}));
  REQUIRE(proposed);
  REQUIRE(std::holds_alternative<Propose>(*proposed));
  CHECK(std::get<Propose>(*proposed).terms == terms());
  const auto ready = decode_message(encode(Ready{}));
  REQUIRE(ready);
  CHECK(std::holds_alternative<Ready>(*ready));
  const auto failed = decode_message(encode(Failed{104}));
  REQUIRE(failed);
  REQUIRE(std::holds_alternative<Failed>(*failed));
  CHECK(std::get<Failed>(*failed).error == 104);
}

TEST_CASE("every shorter or longer message is refused") {
  for (const fabric::Bytes& whole :
       {encode(hello()), encode(Propose{terms()}), encode(Ready{}), encode(Failed{5})}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      CHECK_FALSE(decode_hello(fabric::View{whole}.first(size)));
      CHECK_FALSE(decode_message(fabric::View{whole}.first(size)));
    }
    fabric::Bytes longer = whole;
    longer.push_back(std::byte{0});
    CHECK_FALSE(decode_hello(longer));
    CHECK_FALSE(decode_message(longer));
  }
}

TEST_CASE("values out of bounds are refused") {
  const auto refused_hello = [](auto change) {
    Hello made = hello();
    change(made);
    CHECK_FALSE(decode_hello(encode(made)));
  };
  refused_hello([](Hello& h) { h.lanes = 0; });
  refused_hello([](Hello& h) { h.lanes = 9; });
  refused_hello([](Hello& h) { h.slab = 3u << 20; });
  refused_hello([](Hello& h) { h.region = 0; });
  refused_hello([](Hello& h) { h.region += 4096; });
  refused_hello([](Hello& h) { h.gids.clear(); });
  refused_hello([](Hello& h) { h.gids.resize(9); });
  const auto refused = [](auto change) {
    Terms made = terms();
    change(made);
    CHECK_FALSE(decode_message(encode(Accept{made})));
  };
  refused([](Terms& t) { t.lanes.clear(); });
  refused([](Terms& t) { t.lanes.resize(9); });
  refused([](Terms& t) { t.lanes[0].number = 1u << 24; });
  refused([](Terms& t) { t.lanes[1].packet = 1u << 24; });
  refused([](Terms& t) { t.ring = 24000; });
  refused([](Terms& t) { t.ring = 1u << 30; });
  refused([](Terms& t) { t.credits = 4; });
  refused([](Terms& t) { t.mtu = 0; });
  refused([](Terms& t) { t.mtu = 6; });
  CHECK_FALSE(decode_message(encode(Failed{0})));
}

TEST_CASE("noise is refused or read, never more") {
  std::mt19937 random{4};
  fabric::Bytes noise;
  for (int i = 0; i < 20000; ++i) {
    noise.resize(random() % 120);
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random() % 8);
    (void)decode_hello(noise);
    (void)decode_message(noise);
  }
}

}  // namespace shunt::verbs
