// Who is a Shunt pod, who is not, how long it takes to know, and how long it is remembered.
#include <doctest/doctest.h>

#include "netstack/control/not_shunt.h"
#include "netstack/control/peers.h"
#include "netstack/control/test_support.h"

using namespace shunt;
using namespace shunt::control;
using namespace shunt::control::test;
using Clock = EventLoop::Clock;

TEST_CASE("a pod without Shunt is known at once and remembered, unless it calls") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1)};
  net.pod(2);
  const IpAddress other = ip(Net::v4(2));
  CHECK(a.discover(other) == State::kNot);
  CHECK(a.peers->state(other) == State::kNot);
  CHECK(a.heard.states[other] == State::kNot);
  CHECK(a.discover(other) == State::kNot);
  CHECK(a.peers->view().counters.dials == 1);  // the second time nobody was asked
  CHECK(a.peers->view().counters.refused == 1);
  REQUIRE(a.peers->view().not_shunt.size() == 1);
  CHECK(a.peers->view().not_shunt[0].why == "nobody listens on the control port");

  Shim b{loop, net.pod(2), Net::v4(2)};
  CHECK(b.discover(a) == State::kShunt);
  CHECK(until(loop, [&] { return a.peers->state(other) == State::kShunt; }));
  CHECK(a.peers->view().not_shunt_total == 0);
}

TEST_CASE("a pod without Shunt is asked again after a while") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1),
         [](Options& options) { options.timing.forget = milliseconds{50}; }};
  net.pod(2);
  const IpAddress other = ip(Net::v4(2));
  CHECK(a.discover(other) == State::kNot);
  CHECK(until(loop, [&] { return a.peers->state(other) == State::kUnknown; }));
  CHECK(a.discover(other) == State::kNot);
  CHECK(a.peers->view().counters.dials == 2);
}

TEST_CASE("an address that is silent is given up within the bound") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) { options.timing = {}; }};
  net.pod(2).run("iptables -A INPUT -p tcp --dport 7471 -j DROP");
  const IpAddress other = ip(Net::v4(2));
  const auto began = Clock::now();
  std::optional<State> answer;
  bool calling = false;  // when the answer came: that did not wait for the end of the call
  a.peers->discover(other, [&](State state) {
    answer = state;
    const PeersView all = a.peers->view();
    calling = all.peers.size() == 1 && all.peers[0].phase == "calling";
  });
  REQUIRE(until(loop, [&] { return answer.has_value(); }));
  CHECK(*answer == State::kNot);
  CHECK(calling);
  CHECK(Clock::now() - began >= milliseconds{20});
  CHECK(a.peers->state(other) == State::kNot);
  CHECK(a.discover(other) == State::kNot);
  CHECK(a.peers->view().counters.dials == 1);
  // The call itself ends, too.
  CHECK(until(loop, [&] { return a.peers->view().counters.silent == 1; }));
  CHECK(a.peers->view().peers.empty());
}

TEST_CASE("a pod that answers late is a peer all the same, and everybody is told") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) {
           options.timing.wait = milliseconds{20};
           options.timing.handshake = kLong;
         }};
  Shim b{loop, net.pod(2), Net::v4(2)};
  net.pod(2).run("iptables -A INPUT -p tcp --dport 7471 -j DROP");
  CHECK(a.discover(b) == State::kNot);
  net.pod(2).run("iptables -F INPUT");  // the SYN comes again after a second
  CHECK(until(loop, [&] { return a.heard.states[b.address] == State::kShunt; }));
  CHECK(a.peers->state(b.address) == State::kShunt);
  CHECK(a.peers->view().not_shunt_total == 0);
}

TEST_CASE("no route, no host, ourselves") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1),
         [](Options& options) { options.timing.wait = milliseconds{200}; }};
  CHECK(a.discover(ip("192.0.2.1")) == State::kNot);  // ENETUNREACH
  CHECK(a.peers->view().not_shunt.at(0).why == "not to be reached: ENETUNREACH");
  CHECK(a.discover(ip("fd00:99::1")) == State::kNot);
  CHECK(a.discover(ip(Net::v4(77))) == State::kNot);  // ARP is not answered
  CHECK(a.discover(a.address) == State::kNot);
  CHECK(a.peers->view().counters.dials == 3);
}

TEST_CASE("many ask at once: one call, one answer for all") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1)};
  Shim b{loop, net.pod(2), Net::v4(2)};
  int answers = 0;
  for (int i = 0; i < 50; ++i)
    a.peers->discover(b.address, [&](State state) { answers += state == State::kShunt ? 1 : 0; });
  CHECK(until(loop, [&] { return answers == 50; }));
  CHECK(a.peers->view().counters.dials == 1);
  CHECK(b.peers->view().counters.accepted == 1);
}

TEST_CASE("both call each other at once: one connection is left, the same for both") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  const auto run = [&](const Shim::Change& change) {
    for (int round = 0; round < 5; ++round) {
      Shim a{loop, net.pod(1), Net::v4(1), change};
      Shim b{loop, net.pod(2), Net::v4(2), change};
      std::optional<State> at_a;
      std::optional<State> at_b;
      // The side with the larger address is sometimes ahead.
      b.peers->discover(a.address, [&](State state) { at_b = state; });
      for (int i = 0; i < round; ++i) loop.run_once(0);
      a.peers->discover(b.address, [&](State state) { at_a = state; });
      REQUIRE(until(loop, [&] { return at_a && at_b; }));
      CHECK(*at_a == State::kShunt);
      CHECK(*at_b == State::kShunt);
      REQUIRE(until(loop, [&] { return a.heard.up.size() == 2 && b.heard.up.size() == 2; }));
      turn(loop, milliseconds{20});
      CHECK(a.heard.lost.empty());
      CHECK(b.heard.lost.empty());
      const PeerView from_a = a.view_of(b);
      const PeerView from_b = b.view_of(a);
      CHECK(from_a.dialled != from_b.dialled);
      const auto route = b.peers->route(a.address);
      REQUIRE(route);
      CHECK(b.ask(*route, b.offer_to(a)));
    }
  };
  SUBCASE("calling back") { run({}); }
  SUBCASE("with a key") { run(keyed); }
}

TEST_CASE("both call, but only one way is open: that one is used") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  // With a key: without one nobody can be called back.
  const auto change = [](Options& options) {
    keyed(options);
    options.timing.handshake = milliseconds{2000};
  };
  Shim a{loop, net.pod(1), Net::v4(1), change};
  Shim b{loop, net.pod(2), Net::v4(2), change};
  SUBCASE("that of the larger address") {
    net.pod(2).run("iptables -A INPUT -p tcp --dport 7471 -j DROP");
  }
  SUBCASE("that of the smaller address") {
    net.pod(1).run("iptables -A INPUT -p tcp --dport 7471 -j DROP");
  }
  a.peers->discover(b.address, [](State) {});
  b.peers->discover(a.address, [](State) {});
  CHECK(until(loop, [&] {
    return a.peers->state(b.address) == State::kShunt && b.peers->state(a.address) == State::kShunt;
  }));
  turn(loop, milliseconds{2200});  // the blocked call ends, and changes nothing
  CHECK(a.peers->state(b.address) == State::kShunt);
  CHECK(b.peers->state(a.address) == State::kShunt);
  CHECK(a.heard.lost.empty());
}

TEST_CASE("what is no Shunt pod is kept within bounds, the oldest goes first") {
  NotShunt cache{std::chrono::seconds{60}, 3};
  const auto now = Clock::now();
  const auto put = [&](int n, milliseconds later = {}) {
    cache.put(ip(Net::v4(n)), {Failure::What::kRefused, 0, {}, "text"}, false, now + later);
  };
  put(1);
  put(2);
  put(3);
  put(1);  // is the youngest now
  put(4);
  CHECK(cache.size() == 3);
  CHECK(cache.find(ip(Net::v4(2)), now) == nullptr);
  CHECK(cache.find(ip(Net::v4(1)), now) != nullptr);
  CHECK(cache.find(ip(Net::v4(1)), now)->failure.why.empty());  // follows from the rest
  CHECK(cache.find(ip(Net::v4(1)), now + std::chrono::seconds{60}) == nullptr);
  put(5, milliseconds{60'000});  // the others are over
  CHECK(cache.size() == 1);
  cache.drop(ip(Net::v4(5)));
  cache.drop(ip(Net::v4(5)));
  CHECK(cache.size() == 0);
}

TEST_CASE("an address that is asked about a thousand times costs one entry") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) { options.limits.not_shunt = 16; }};
  net.pod(2).run("ip addr add 198.18.9.0/24 dev eth0; ip route add local 198.18.8.0/24 dev lo");
  for (int i = 1; i <= 40; ++i)
    CHECK(a.discover(ip("198.18.8." + std::to_string(i))) == State::kNot);
  CHECK(a.peers->view().not_shunt_total == 16);
  CHECK(a.peers->view().peers.empty());
}
