// Links: made, not made, lost, made again; messages in order.
#include <doctest/doctest.h>

#include "netstack/control/peers.h"
#include "netstack/control/test_support.h"

using namespace shunt;
using namespace shunt::control;
using namespace shunt::control::test;

namespace {
struct Pair {
  EventLoop loop;
  Net net;
  Shim a;
  Shim b;
  explicit Pair(const Shim::Change& change = no_retry)
      : a{loop, net.pod(1), Net::v4(1), change}, b{loop, net.pod(2), Net::v4(2), change} {}
  // Links that failed are tried again with the pings.
  static void no_retry(Options& options) { options.timing.ping = kLong; }
  FabricView fabric(const Shim& at, const Shim& peer, Kind kind) const {
    for (FabricView& view : at.view_of(peer).fabrics)
      if (view.kind == kind) return std::move(view);
    return {};
  }
};
}  // namespace

TEST_CASE("a fabric that does not fit says why, at both ends, and the next one is used") {
  if (!root()) return;
  Pair pair;
  EventLoop& loop = pair.loop;
  Shim& a = pair.a;
  Shim& b = pair.b;
  SUBCASE("at the dialling side") { a.window.misfit = "no\x1bwindow here"; }
  SUBCASE("at the dialled side") { b.window.misfit = "no\x1bwindow here"; }
  SUBCASE("or fails to come up") { b.window.way = FakeFabric::Way::kFails; }
  REQUIRE(a.discover(b) == State::kShunt);
  REQUIRE(until(loop, [&] {
    return a.heard.up.size() == 1 && b.heard.up.size() == 1 &&
           pair.fabric(a, b, Kind::kWindow).state == "waiting" &&
           pair.fabric(b, a, Kind::kWindow).state == "down";
  }));
  CHECK(a.peers->route(b.address)->kind == Kind::kHost);
  CHECK(b.peers->route(a.address)->kind == Kind::kHost);
  const std::string at_a = pair.fabric(a, b, Kind::kWindow).why;
  const std::string at_b = pair.fabric(b, a, Kind::kWindow).why;
  if (!a.window.misfit.empty()) {
    CHECK(at_a == "no\x1bwindow here");
    CHECK(at_b == "the peer says: no?window here");
  } else if (!b.window.misfit.empty()) {
    CHECK(at_a == "the peer says: no?window here");
    CHECK(at_b == "no\x1bwindow here");
  } else {
    CHECK(at_b == "fake link: ENODEV (No such device)");
  }
  CHECK(a.window.links.empty());
}

TEST_CASE("a fabric that only one side has") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1)};
  FakeFabric verbs{Kind::kVerbs};
  Shim b{loop, net.pod(2), Net::v4(2), [&](Options& options) {
           options.fabrics = {&verbs, options.fabrics[1]};
         }};
  REQUIRE(a.discover(b) == State::kShunt);
  CHECK(verbs.asked == 0);
  CHECK(a.window.asked == 0);
  const auto view = a.view_of(b);
  CHECK(view.fabrics[0].state == "no");
  CHECK(view.fabrics[0].why == "the peer does not offer it");
  CHECK(view.fabrics[1].state == "up");
}

TEST_CASE("discovery waits for the first link, but not beyond its bound") {
  if (!root()) return;
  Pair pair;
  EventLoop& loop = pair.loop;
  Shim& a = pair.a;
  Shim& b = pair.b;
  b.window.way = b.host.way = FakeFabric::Way::kHeld;
  std::optional<State> answer;
  a.peers->discover(b.address, [&](State state) { answer = state; });
  REQUIRE(until(loop, [&] { return b.host.asked == 1; }));
  turn(loop, milliseconds{20});
  CHECK_FALSE(answer);
  CHECK(a.peers->state(b.address) == State::kShunt);
  CHECK_FALSE(a.peers->route(b.address));
  SUBCASE("it comes") {
    b.host.release();
    REQUIRE(until(loop, [&] { return answer.has_value(); }));
    CHECK(a.peers->route(b.address));
  }
  SUBCASE("it does not") {  // asked once more, by one who waits for less
    Shim c{loop, pair.net.pod(3), Net::v4(3),
           [](Options& options) { options.timing.wait = milliseconds{200}; }};
    b.peers->discover(c.address, [](State) {});
    REQUIRE(until(loop, [&] { return c.peers->state(b.address) == State::kShunt; }));
    answer.reset();
    c.peers->discover(b.address, [&](State state) { answer = state; });
    CHECK_FALSE(answer);
    REQUIRE(until(loop, [&] { return answer.has_value(); }));
    CHECK_FALSE(c.peers->route(b.address));
  }
  CHECK(*answer == State::kShunt);
}

TEST_CASE("messages arrive in order, also those that are earlier than the link") {
  if (!root()) return;
  Pair pair;
  EventLoop& loop = pair.loop;
  Shim& a = pair.a;
  Shim& b = pair.b;
  a.host.says_at_start = {"1", "2", "3"};
  b.host.way = FakeFabric::Way::kHeld;
  a.peers->discover(b.address, [](State) {});
  REQUIRE(until(loop, [&] { return b.host.asked == 1 && !a.host.links.empty(); }));
  for (int i = 4; i < 1000; ++i) a.host.only_link().send(std::to_string(i));
  turn(loop, milliseconds{50});
  CHECK(b.host.heard.empty());
  b.host.release();
  for (int i = 1000; i < 2000; ++i) a.host.only_link().send(std::to_string(i));
  REQUIRE(until(loop, [&] { return b.host.heard.size() == 1999; }));
  for (std::size_t i = 0; i < b.host.heard.size(); ++i)
    REQUIRE(b.host.heard[i] == std::to_string(i + 1));
  b.host.only_link().send(Bytes(kMaxLinkBytes, std::byte{'x'}));
  REQUIRE(until(loop, [&] { return a.host.heard.size() == 1; }));
  CHECK(a.host.heard[0].size() == kMaxLinkBytes);
  CHECK(b.window.heard.empty());
}

TEST_CASE("a link that fails takes its offers with it, leaves the other one, and comes back") {
  if (!root()) return;
  Pair pair{[](Options&) {}};
  EventLoop& loop = pair.loop;
  Shim& a = pair.a;
  Shim& b = pair.b;
  REQUIRE(a.discover(b) == State::kShunt);
  REQUIRE(until(loop, [&] { return a.heard.up.size() == 2 && b.heard.up.size() == 2; }));
  b.heard.silent = true;
  const auto route = a.peers->route(b.address);
  REQUIRE(route);
  CHECK(route->kind == Kind::kWindow);
  std::optional<Result<Accept, Refusal>> answer;
  a.peers->offer(*route, a.offer_to(b), [&](auto got) { answer = std::move(got); });
  REQUIRE(until(loop, [&] { return b.heard.offers.size() == 1; }));

  SUBCASE("at the side that offered") { a.window.only_link().fail(EIO); }
  SUBCASE("at the other side") { b.window.only_link().fail(EIO); }
  SUBCASE("by a message that is too long") { a.window.only_link().send(Bytes(kMaxLinkBytes + 1)); }
  CHECK(a.window.links.size() == 1);  // not from inside its own call
  REQUIRE(until(loop, [&] { return a.heard.down.size() == 1 && b.heard.down.size() == 1; }));
  CHECK(until(loop, [&] { return a.window.links.empty() && b.window.links.empty(); }));
  REQUIRE(answer);
  CHECK(answer->error() == Refusal::kLost);
  CHECK(a.peers->link(*route) == nullptr);
  CHECK(a.heard.lost.empty());
  CHECK(a.peers->route(b.address)->kind == Kind::kHost);
  CHECK_FALSE(b.peers->accept(b.heard.offers[0].first, AF_INET, {}));

  REQUIRE(until(loop, [&] { return a.heard.up.size() == 3 && b.heard.up.size() == 3; }));
  const auto again = a.peers->route(b.address);
  REQUIRE(again);
  CHECK(again->kind == Kind::kWindow);
  CHECK(again->session != route->session);
  CHECK(pair.fabric(a, b, Kind::kWindow).attempts == 2);
}

TEST_CASE("a half that comes up after its attempt is over is not used") {
  if (!root()) return;
  Pair pair;
  EventLoop& loop = pair.loop;
  Shim& a = pair.a;
  Shim& b = pair.b;
  a.window.way = FakeFabric::Way::kHeld;
  b.window.way = FakeFabric::Way::kFails;
  REQUIRE(a.discover(b) == State::kShunt);
  REQUIRE(until(loop, [&] { return pair.fabric(a, b, Kind::kWindow).state == "waiting"; }));
  a.window.release();
  turn(loop, milliseconds{20});
  CHECK(a.window.links.empty());
  CHECK(pair.fabric(a, b, Kind::kWindow).state == "waiting");
}
