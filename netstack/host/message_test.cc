#include "netstack/host/message.h"

#include <doctest/doctest.h>

using namespace shunt;
using namespace shunt::host;
using fabric::Bytes;

TEST_CASE("what is encoded is decoded") {
  const Hello hello{{*parse_address("192.0.2.1"), 7472}};
  REQUIRE(decode_hello(encode(hello)));
  CHECK(decode_hello(encode(hello))->listener == hello.listener);

  Dial dial;
  for (Number number = 1; number <= kMostAtOnce; ++number) {
    Ticket ticket{number << 20U, {}};
    ticket.token.fill(static_cast<std::byte>(number));
    dial.tickets.push_back(ticket);
  }
  const auto decoded = decode_message(encode(Message{dial}));
  REQUIRE(decoded);
  const auto& again = std::get<Dial>(*decoded);
  REQUIRE(again.tickets.size() == dial.tickets.size());
  CHECK(again.tickets.back().number == dial.tickets.back().number);
  CHECK(again.tickets.back().token == dial.tickets.back().token);

  const auto ready = decode_message(encode(Message{Ready{{1, 0xFFFFFFFF}}}));
  REQUIRE(ready);
  CHECK(std::get<Ready>(*ready).numbers == std::vector<Number>{1, 0xFFFFFFFF});
  CHECK(decode_offer(encode_offer(77)) == 77);

  Token token;
  token.fill(std::byte{5});
  CHECK(decode_preface(encode_preface(token)) == token);
}

TEST_CASE("what makes no sense is not decoded") {
  CHECK_FALSE(decode_hello({}));
  CHECK_FALSE(decode_hello(encode(Hello{{*parse_address("127.0.0.1"), 7472}})));
  CHECK_FALSE(decode_hello(encode(Hello{{*parse_address("192.0.2.1"), 0}})));
  CHECK_FALSE(decode_hello(encode(Hello{{IpAddress{}, 7472}})));
  for (const Message& message : {Message{Dial{{{1, {}}}}}, Message{Ready{{1, 2}}}}) {
    Bytes bytes = encode(message);
    for (std::size_t size = 0; size < bytes.size(); ++size)
      CHECK_FALSE(decode_message(fabric::View{bytes}.first(size)));
    bytes.push_back(std::byte{0});
    CHECK_FALSE(decode_message(bytes));
    bytes.pop_back();
    bytes[0] = std::byte{3};
    CHECK_FALSE(decode_message(bytes));
    bytes[1] = std::byte{255};
    CHECK_FALSE(decode_message(bytes));
  }
  CHECK_FALSE(decode_offer(Bytes(3)));
  CHECK_FALSE(decode_preface(Bytes(kPrefaceLength)));
}
