#include "netstack/control/peers.h"

#include <doctest/doctest.h>

#include "netstack/control/test_support.h"

using namespace shunt;
using namespace shunt::control;
using namespace shunt::control::test;

TEST_CASE("two Shunt pods find each other, link up and agree on a stream") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1)};
  Shim b{loop, net.pod(2), Net::v4(2)};
  CHECK(a.peers->state(b.address) == State::kUnknown);
  CHECK(a.discover(b) == State::kShunt);
  CHECK(a.peers->state(b.address) == State::kShunt);
  CHECK(a.heard.states[b.address] == State::kShunt);
  REQUIRE(until(loop, [&] { return b.heard.up.size() == 2 && a.heard.up.size() == 2; }));
  CHECK(b.peers->state(a.address) == State::kShunt);
  CHECK(b.heard.states[a.address] == State::kShunt);
  CHECK(a.window.only_link().setup().dialled);
  CHECK_FALSE(b.window.only_link().setup().dialled);
  CHECK(b.window.only_link().setup().peer.address == a.address);
  CHECK(b.window.advertised == "fake");

  SUBCASE("accepted and confirmed") {
    const auto route = a.peers->route(b.address);
    REQUIRE(route);
    CHECK(route->kind == Kind::kWindow);  // the first in the options
    CHECK(route->stream % 2 == 1);
    CHECK(a.peers->link(*route) == &a.window.only_link());
    const auto answer = a.ask(*route, a.offer_to(b));
    REQUIRE(answer);
    CHECK(text_of(answer->message) == "yes");
    REQUIRE(b.heard.offers.size() == 1);
    const auto& [at_b, offer] = b.heard.offers[0];
    CHECK(at_b.peer == a.address);
    CHECK(at_b.stream == route->stream);
    CHECK(b.peers->link(at_b) == &b.window.only_link());
    CHECK(offer.client == Endpoint{a.address, 40000});
    CHECK(text_of(offer.message) == "offered");
    a.peers->confirm(*route);
    REQUIRE(until(loop, [&] { return b.heard.confirmed.size() == 1; }));
    CHECK(b.heard.confirmed[0] == at_b);
    CHECK(b.heard.withdrawn.empty());
  }
  SUBCASE("from the side that was dialled, with even numbers, on the fabric it asks for") {
    const std::array only{Kind::kHost};
    const auto route = b.peers->route(a.address, only);
    REQUIRE(route);
    CHECK(route->kind == Kind::kHost);
    CHECK(route->stream % 2 == 0);
    REQUIRE(b.ask(*route, b.offer_to(a)));
    b.peers->withdraw(*route);
    REQUIRE(until(loop, [&] { return a.heard.withdrawn.size() == 1; }));
    const std::array none{Kind::kVerbs};
    CHECK(b.peers->route(a.address, none).error().number == ENOTCONN);
  }
  SUBCASE("refused") {
    b.heard.refusal = Refusal::kGoneAhead;
    const auto route = a.peers->route(b.address);
    const auto answer = a.ask(*route, a.offer_to(b));
    REQUIRE_FALSE(answer);
    CHECK(answer.error() == Refusal::kGoneAhead);
    a.peers->confirm(*route);  // wrong, and harmless
    CHECK(a.discover(b) == State::kShunt);
  }
  SUBCASE("passed by") {
    const Endpoint client{a.address, 40001};
    const Endpoint server{b.address, 80};
    a.peers->pass(b.address, client, server);
    REQUIRE(until(loop, [&] { return b.heard.passed.size() == 1; }));
    CHECK(b.heard.passed[0] == std::pair{client, server});
    const Endpoint any{a.address, 0};
    a.peers->pass(b.address, any, server);
    REQUIRE(until(loop, [&] { return b.heard.passed.size() == 2; }));
    CHECK(b.heard.passed[1] == std::pair{any, server});
  }
  SUBCASE("an offer in another pod's name does not leave") {
    Offer offer = a.offer_to(b);
    offer.client.address = ip(Net::v4(9));
    const auto answer = a.ask(*a.peers->route(b.address), offer);
    REQUIRE_FALSE(answer);
    CHECK(answer.error() == Refusal::kNotKnown);
  }
  SUBCASE("seen by inspect") {
    const PeerView view = a.view_of(b);
    CHECK(view.phase == "up");
    CHECK(view.node == "node-of-198.18.0.2");
    CHECK(view.pod == "test/pod-198.18.0.2");
    CHECK(view.dialled);
    CHECK(view.version == kSpoken);
    CHECK(until(loop, [&] { return a.view_of(b).round_trip.has_value(); }));
    REQUIRE(view.fabrics.size() == 2);
    CHECK(view.fabrics[0].kind == Kind::kWindow);
    CHECK(view.fabrics[0].state == "up");
    CHECK(view.fabrics[0].why.empty());
  }
}

TEST_CASE("no answer: withdrawn, and no more questions until it is heard again") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1),
         [](Options& options) { options.timing.answer = milliseconds{100}; }};
  Shim b{loop, net.pod(2), Net::v4(2)};
  b.heard.silent = true;
  REQUIRE(a.discover(b) == State::kShunt);
  REQUIRE(until(loop, [&] { return b.heard.up.size() == 2 && a.heard.up.size() == 2; }));
  REQUIRE(until(loop, [&] { return a.view_of(b).round_trip.has_value(); }));
  const auto route = a.peers->route(b.address);
  REQUIRE(route);
  const auto answer = a.ask(*route, a.offer_to(b));
  REQUIRE_FALSE(answer);
  CHECK(answer.error() == Refusal::kNoAnswer);
  CHECK_FALSE(a.peers->route(b.address));
  REQUIRE(until(loop, [&] { return b.heard.withdrawn.size() == 1; }));
  CHECK_FALSE(b.peers->accept(b.heard.offers[0].first, AF_INET, {}));
  CHECK(until(loop, [&] { return static_cast<bool>(a.peers->route(b.address)); }));  // PONG
}

TEST_CASE("over IPv6") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v6(1)};
  Shim b{loop, net.pod(2), Net::v6(2)};
  CHECK(b.discover(a) == State::kShunt);
  const auto route = b.peers->route(a.address);
  REQUIRE(route);
  CHECK(b.ask(*route, b.offer_to(a)));
}
