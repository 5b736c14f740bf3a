// How a control connection ends, how soon it is noticed, and how it comes back.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>

#include <thread>

#include "netstack/control/peers.h"
#include "netstack/control/test_support.h"

using namespace shunt;
using namespace shunt::control;
using namespace shunt::control::test;

namespace {
// Lost after 3 * 250 ms instead of 6 s; called again soon.
void quick(Options& options) {
  options.timing.ping = milliseconds{250};
  options.timing.handshake = milliseconds{1000};
  options.timing.redial = milliseconds{50};
  options.timing.redial_max = milliseconds{200};
}

// Whatever is noticed is noticed without.
void no_pings(Options& options) {
  quick(options);
  options.timing.ping = 10 * kLong;
}

struct Pair {
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), quick};
  Shim b{loop, net.pod(2), Net::v4(2), quick};
  Pair() {
    REQUIRE(a.discover(b) == State::kShunt);
    REQUIRE(until(loop, [&] { return a.heard.up.size() == 2 && b.heard.up.size() == 2; }));
  }
  bool both(State state) {
    return until(loop, [&] {
      return a.peers->state(b.address) == state && b.peers->state(a.address) == state;
    });
  }
};
}  // namespace

TEST_CASE("a quiet connection in use stays up") {
  if (!root()) return;
  Pair pair;
  turn(pair.loop, milliseconds{1200});
  CHECK(pair.a.heard.lost.empty());
  CHECK(pair.b.heard.lost.empty());
  CHECK(pair.a.peers->state(pair.b.address) == State::kShunt);
}

TEST_CASE("a node cut off is noticed within three pings, and found again") {
  if (!root()) return;
  Pair pair;
  EventLoop& loop = pair.loop;
  Net& net = pair.net;
  Shim& a = pair.a;
  Shim& b = pair.b;
  bool one_way = false;
  SUBCASE("both ways") { net.cut(2); }
  SUBCASE("only its words are lost") {
    one_way = true;
    net.pod(1).run("iptables -A INPUT -s 198.18.0.2 -j DROP");
  }
  SUBCASE("only our words are lost") {
    one_way = true;
    net.pod(2).run("iptables -A INPUT -s 198.18.0.1 -j DROP");
  }
  REQUIRE(pair.both(State::kNot));  // TCP itself would try for a quarter of an hour
  CHECK(a.heard.lost.size() == 1);
  CHECK(a.heard.down.size() == 2);
  CHECK(b.heard.down.size() == 2);
  CHECK(a.heard.states[b.address] == State::kNot);
  CHECK(until(loop, [&] { return a.host.links.empty(); }));
  CHECK(a.view_of(b).phase != "up");
  CHECK_FALSE(a.peers->route(b.address));
  CHECK(a.discover(b) == State::kNot);  // at once: the kernel's path

  if (one_way) {
    net.pod(1).run("iptables -F INPUT");
    net.pod(2).run("iptables -F INPUT");
  } else {
    net.mend(2);
  }
  REQUIRE(pair.both(State::kShunt));
  REQUIRE(until(loop, [&] { return a.heard.up.size() >= 4 && b.heard.up.size() >= 4; }));
  const auto route = a.peers->route(b.address);
  REQUIRE(route);
  CHECK(a.ask(*route, a.offer_to(b)));
}

TEST_CASE("who has been stopped does not take the peer for silent") {
  if (!root()) return;
  Pair pair;
  const auto said = [&] { return pair.a.view_of(pair.b).frames_out; };
  for (int round = 0; round < 3; ++round) {
    // Just after a PING: its answer is the only thing that is waited for.
    const auto before = said();
    REQUIRE(until(pair.loop, [&] { return said() > before; }));
    std::this_thread::sleep_for(milliseconds{700});  // twice as long as a peer may be silent
    turn(pair.loop, milliseconds{300});
    CHECK(pair.a.heard.lost.empty());
    CHECK(pair.b.heard.lost.empty());
  }
}

TEST_CASE("a peer that has been away for long is forgotten, not called for ever") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) {
           quick(options);
           options.timing.recent = milliseconds{3000};
         }};
  Shim b{loop, net.pod(2), Net::v4(2), quick};
  REQUIRE(a.discover(b) == State::kShunt);
  net.cut(2);
  CHECK(until(loop, [&] { return a.peers->view().counters.lost == 1; }));
  CHECK(until(loop, [&] { return a.peers->view().peers.empty(); }));
  CHECK(a.peers->state(b.address) == State::kNot);
}

TEST_CASE("offers under way end with the connection") {
  if (!root()) return;
  Pair pair;
  EventLoop& loop = pair.loop;
  Shim& a = pair.a;
  Shim& b = pair.b;
  b.heard.silent = true;
  std::optional<Result<Accept, Refusal>> answer;
  const auto route = a.peers->route(b.address);
  REQUIRE(route);
  a.peers->offer(*route, a.offer_to(b), [&](auto got) { answer = std::move(got); });
  REQUIRE(until(loop, [&] { return b.heard.offers.size() == 1; }));
  b.peers.reset();
  REQUIRE(until(loop, [&] { return answer.has_value(); }));
  CHECK(answer->error() == Refusal::kLost);
  CHECK(a.peers->link(*route) == nullptr);
  CHECK(a.heard.lost.size() == 1);
  CHECK(a.peers->state(b.address) == State::kNot);  // it said goodbye
  CHECK(a.view_of(b).why == "closing: the pod's shim ends");
  a.peers->withdraw(*route);  // void, harmless
}

TEST_CASE("a shim that is killed is noticed at once; its successor is found") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  const Namespace& second = net.pod(2);
  const pid_t child = ::fork();
  if (child == 0) {
    EventLoop own;
    Shim b{own, second, Net::v4(2), no_pings};
    own.run();
    ::_exit(0);
  }
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) {
           no_pings(options);
           options.timing.forget = milliseconds{20};
         }};
  const IpAddress b = ip(Net::v4(2));
  REQUIRE(until(loop, [&] { return a.discover(b) == State::kShunt; }));
  ::kill(child, SIGKILL);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  REQUIRE(until(loop, [&] { return a.heard.lost.size() == 1; }));
  CHECK(a.peers->state(b) == State::kNot);
  Shim again{loop, second, Net::v4(2), quick};
  CHECK(until(loop, [&] { return a.peers->state(b) == State::kShunt; }));
}

TEST_CASE("a shim that hangs is lost, though its kernel still answers") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  const Namespace& second = net.pod(2);
  const pid_t child = ::fork();
  if (child == 0) {
    EventLoop own;
    Shim b{own, second, Net::v4(2), quick};
    own.run();
    ::_exit(0);
  }
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) {
           quick(options);
           options.timing.forget = milliseconds{20};
         }};
  const IpAddress b = ip(Net::v4(2));
  REQUIRE(until(loop, [&] { return a.discover(b) == State::kShunt; }));
  ::kill(child, SIGSTOP);
  CHECK(until(loop, [&] { return a.heard.lost.size() == 1; }));
  ::kill(child, SIGCONT);
  CHECK(until(loop, [&] { return a.peers->state(b) == State::kShunt; }));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("an unused connection is closed after a while, and made again when needed") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  const auto change = [](Options& options) {
    quick(options);
    options.timing.recent = milliseconds{100};
    options.timing.idle = milliseconds{400};
  };
  Shim a{loop, net.pod(1), Net::v4(1), change};
  Shim b{loop, net.pod(2), Net::v4(2), change};
  SUBCASE("without streams") {
    REQUIRE(a.discover(b) == State::kShunt);
    CHECK(until(loop, [&] { return a.peers->state(b.address) == State::kUnknown; }));
    CHECK(until(loop, [&] { return b.peers->view().peers.empty(); }));
    CHECK(a.heard.states[b.address] == State::kUnknown);
    CHECK(a.discover(b) == State::kShunt);
  }
  SUBCASE("not while it carries streams") {
    a.host.streams = 1;
    b.host.streams = 1;
    REQUIRE(a.discover(b) == State::kShunt);
    turn(loop, milliseconds{800});
    CHECK(a.peers->state(b.address) == State::kShunt);
    CHECK(a.heard.lost.empty());
  }
}

TEST_CASE("a peer that calls anew ends the old connection") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim b{loop, net.pod(2), Net::v4(2), keyed};
  const IpAddress pod = ip(Net::v4(1));
  Stranger first{loop, net.pod(1), Net::v4(2)};
  REQUIRE(get_in(first, pod, b.address));
  REQUIRE(until(loop, [&] { return b.peers->state(pod) == State::kShunt; }));
  SUBCASE("another life of its shim, at once") {
    Shim a{loop, net.pod(1), Net::v4(1), keyed};
    CHECK(a.discover(b) == State::kShunt);
    CHECK(first.ended());
    CHECK(b.heard.lost.size() == 1);
    CHECK(b.heard.states[pod] == State::kShunt);
  }
  SUBCASE("the same life, at once: the loser of a race") {
    Stranger second{loop, net.pod(1), Net::v4(2)};
    CHECK_FALSE(get_in(second, pod, b.address));
    CHECK(b.heard.lost.empty());
  }
}
