// What one peer can do to a shim, and to the others: nothing.
#include <doctest/doctest.h>
#include <malloc.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "netstack/control/offers.h"
#include "netstack/control/peers.h"
#include "netstack/control/test_support.h"

using namespace shunt;
using namespace shunt::control;
using namespace shunt::control::test;

namespace {

// b has a good peer, a, and a bad one at pod 3. Whatever the bad one does, a goes on.
struct WithBadPeer {
  milliseconds decide = kLong;
  milliseconds ping = kLong;  // none of which the bad one answers
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), keyed};
  Shim b{loop, net.pod(2), Net::v4(2), [this](Options& options) {
           keyed(options);
           options.limits.offers = 16;
           options.limits.queue = 256 * 1024;
           options.limits.early = 64 * 1024;
           options.timing.decide = decide;
           options.timing.ping = ping;
         }};
  IpAddress bad_address = ip(Net::v4(3));
  Stranger bad{loop, net.pod(3), Net::v4(2)};

  explicit WithBadPeer(milliseconds to_decide = kLong, milliseconds pings = kLong)
      : decide{to_decide}, ping{pings} {
    REQUIRE(a.discover(b) == State::kShunt);
    REQUIRE(get_in(bad, bad_address, b.address));
    bad.send(LinkStart{Kind::kHost, 1});
    bad.send(LinkReady{Kind::kHost, 1});
    REQUIRE(until(loop, [&] { return b.heard.up.size() == 3; }));
  }
  Offer offer(StreamId id) const {
    Offer one;
    one.stream = id;
    one.kind = Kind::kHost;
    one.client = {bad_address, 40000};
    one.server = {b.address, 80};
    one.service = one.server;
    return one;
  }
  void check_banned(Reason reason) {
    const auto bye = bad.next_of<Bye>();
    REQUIRE(bye);
    CHECK(bye->reason == reason);
    CHECK(bad.ended());
    CHECK(b.peers->state(bad_address) == State::kNot);
    CHECK(b.peers->view().counters.misbehaved == 1);
    CHECK(b.heard.lost == std::vector<IpAddress>{bad_address});
    REQUIRE(b.peers->view().not_shunt.size() == 1);
    CHECK(b.peers->view().not_shunt[0].phase == "banned");
    Stranger again{loop, net.pod(3), Net::v4(2)};
    CHECK_FALSE(get_in(again, bad_address, b.address));
    check_others();
  }
  void check_others() {
    CHECK(a.heard.lost.empty());
    const auto route = a.peers->route(b.address);
    REQUIRE(route);
    CHECK(a.ask(*route, a.offer_to(b)));
    a.peers->confirm(*route);
  }
};

}  // namespace

TEST_CASE("a peer that breaks the rules is given up, and not taken back for a while") {
  if (!root()) return;
  WithBadPeer pair;
  EventLoop& loop = pair.loop;
  Shim& a = pair.a;
  Shim& b = pair.b;
  const IpAddress bad_address = pair.bad_address;
  Stranger& bad = pair.bad;
  SUBCASE("garbage") {
    bad.send(bytes_of("\xff\xff\xff\xff garbage"));
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("a malformed message") {
    bad.send(bytes_of(std::string("\x02\0\0\0\x13\0", 6)));
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("the handshake again") {
    bad.send(Info{});
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("an offer for another pod's connection") {
    Offer one = pair.offer(1);
    one.client.address = a.address;
    bad.send(one);
    pair.check_banned(Reason::kProtocol);
    CHECK(b.heard.offers.empty() == false);  // only a's, from check_others
    CHECK(b.heard.offers[0].first.peer == a.address);
  }
  SUBCASE("an offer to another pod's listener") {
    Offer one = pair.offer(1);
    one.server.address = a.address;
    bad.send(one);
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("a pass in another pod's name") {
    bad.send(Pass{{a.address, 1}, {b.address, 2}});
    pair.check_banned(Reason::kProtocol);
    CHECK(b.heard.passed.empty());
  }
  SUBCASE("a pass of all connections in another pod's name") {
    bad.send(Pass{{a.address, 0}, {b.address, 2}});
    pair.check_banned(Reason::kProtocol);
    CHECK(b.heard.passed.empty());
  }
  SUBCASE("a pass without a server") {
    bad.send(Pass{{bad_address, 0}, {b.address, 0}});
    pair.check_banned(Reason::kProtocol);
    CHECK(b.heard.passed.empty());
  }
  SUBCASE("the same offer twice") {
    bad.send(pair.offer(1));
    bad.send(Withdraw{1});
    bad.send(pair.offer(1));
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("a stream of ours in an offer") {
    bad.send(pair.offer(2));
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("a word about a stream that never was") {
    SUBCASE("") { bad.send(Confirm{5}); }
    SUBCASE("") { bad.send(Withdraw{5}); }
    SUBCASE("") { bad.send(Confirm{2}); }
    SUBCASE("") { bad.send(Accept{2, AF_INET, {}}); }
    SUBCASE("") { bad.send(Accept{1, AF_INET, {}}); }
    SUBCASE("") { bad.send(Refuse{2, Refusal::kOther}); }
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("confirmed before it was accepted") {
    b.heard.silent = true;
    bad.send(pair.offer(1));
    bad.send(Confirm{1});
    REQUIRE(bad.next_of<Bye>()->reason == Reason::kProtocol);
    CHECK(b.heard.confirmed.empty());
  }
  SUBCASE("links out of turn") {
    SUBCASE("") { bad.send(LinkStart{Kind::kHost, 1}); }
    SUBCASE("") { bad.send(LinkStart{Kind::kVerbs, 1}); }
    SUBCASE("") { bad.send(LinkReady{Kind::kHost, 1}); }
    SUBCASE("") { bad.send(LinkReady{Kind::kHost, 2}); }
    SUBCASE("") { bad.send(LinkEnd{Kind::kHost, 2, ""}); }
    SUBCASE("") { bad.send(LinkMessage{Kind::kWindow, 1, {}}); }
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("more offers than agreed") {
    b.heard.silent = true;
    for (StreamId id = 1; id < 33; id += 2) bad.send(pair.offer(id));
    CHECK(until(loop, [&] { return b.heard.offers.size() == 16; }));
    CHECK(b.peers->state(bad_address) == State::kShunt);
    bad.send(pair.offer(33));
    REQUIRE(bad.next_of<Bye>()->reason == Reason::kFlood);
    CHECK(b.heard.offers.size() == 16);
    CHECK(b.peers->state(bad_address) == State::kNot);
    b.heard.silent = false;
    pair.check_others();
  }
  SUBCASE("more accepted ones than agreed, never confirmed") {
    for (StreamId id = 1; id <= 33; id += 2) bad.send(pair.offer(id));
    CHECK(bad.next_of<Bye>()->reason == Reason::kFlood);
  }
  SUBCASE("pings without end") {
    for (std::uint64_t i = 0; i < 200; ++i) bad.send(Ping{i});
    pair.check_banned(Reason::kFlood);
  }
  SUBCASE("messages for a link that does not come, without end") {
    b.host.way = FakeFabric::Way::kHeld;
    bad.send(LinkEnd{Kind::kHost, 1, "again"});
    bad.send(LinkStart{Kind::kHost, 2});
    for (int i = 0; i < 2000; ++i) bad.send(LinkMessage{Kind::kHost, 2, {}});
    pair.check_banned(Reason::kProtocol);
  }
  SUBCASE("does not read") {
    const int small = 4096;
    REQUIRE(::setsockopt(bad.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    const auto to_bad = std::find_if(b.host.links.begin(), b.host.links.end(), [&](auto* link) {
      return link->setup().peer.address == bad_address;
    });
    REQUIRE(to_bad != b.host.links.end());
    FakeFabric::FakeLink* const link = *to_bad;
    for (int i = 0; i < 200 && b.host.links.contains(link); ++i) {
      link->send(Bytes(60000));
      loop.run_once(0);
    }
    CHECK(until(loop, [&] { return b.peers->state(bad_address) == State::kNot; }));
    pair.check_others();
  }
}

TEST_CASE("a peer that says no word about a stream that was accepted is given up") {
  if (!root()) return;
  WithBadPeer pair{milliseconds{300}, milliseconds{1000}};  // looked after with the pings
  pair.bad.send(pair.offer(1));
  REQUIRE(pair.bad.next_of<Accept>());
  pair.check_banned(Reason::kProtocol);
}

TEST_CASE("words that cross each other break no rule") {
  if (!root()) return;
  WithBadPeer pair;
  Shim& b = pair.b;
  const IpAddress bad_address = pair.bad_address;
  Stranger& bad = pair.bad;
  b.heard.refusal = Refusal::kNotListening;
  bad.send(pair.offer(1));
  bad.send(Withdraw{1});  // crosses REFUSE
  bad.send(pair.offer(9));
  bad.send(Withdraw{5});    // was never offered, but is below what was
  bad.send(pair.offer(3));  // links may be slow: not in order
  bad.send(LinkEnd{Kind::kHost, 0, "old"});
  bad.send(LinkMessage{Kind::kHost, 0, {}});
  for (int i = 0; i < 3; ++i) CHECK(bad.next_of<Refuse>()->why == Refusal::kNotListening);
  // The link has just gone at our side: refused, not punished.
  bad.send(LinkEnd{Kind::kHost, 1, "gone"});
  bad.send(pair.offer(11));
  CHECK(bad.next_of<Refuse>()->why == Refusal::kOther);
  CHECK(b.peers->state(bad_address) == State::kShunt);
}

TEST_CASE("frames come faster than they are taken: they wait, the others do not") {
  if (!root()) return;
  WithBadPeer pair;
  EventLoop& loop = pair.loop;
  Shim& b = pair.b;
  const IpAddress bad_address = pair.bad_address;
  Stranger& bad = pair.bad;
  Bytes many;
  for (int i = 0; i < 40'000; ++i) {
    const Bytes one = encode(Pass{{bad_address, 1}, {b.address, 2}});
    many.insert(many.end(), one.begin(), one.end());
  }
  const auto began = EventLoop::Clock::now();
  bad.send(many);
  pair.check_others();
  REQUIRE(until(loop, [&] { return b.heard.passed.size() == 40'000; }));
  CHECK(EventLoop::Clock::now() - began > milliseconds{250});  // 100,000 a second
  CHECK(b.peers->state(bad_address) == State::kShunt);
}

TEST_CASE("numbers of streams are taken once, near the highest, in any order") {
  UsedIds used;
  CHECK(used.use(1));
  CHECK_FALSE(used.use(1));
  CHECK(used.use(7));
  CHECK(used.use(3));
  CHECK_FALSE(used.use(3));
  CHECK_FALSE(used.use(7));
  CHECK(used.use(5));
  CHECK(used.use(4101));
  CHECK_FALSE(used.use(5));  // too far below
  CHECK(used.use(9));
  CHECK(used.use(0xffffffff));
  CHECK_FALSE(used.use(4101));
  CHECK(used.use(0xffffffff - 4094));
  CHECK_FALSE(used.use(0xffffffff - 4096));
  CHECK(used.highest() == 0xffffffff);

  UsedIds even;
  for (StreamId id = 2; id < 60'000; id += 2) REQUIRE(even.use(id));
  for (StreamId id = 60'000 - 4096; id < 60'000; id += 2) REQUIRE_FALSE(even.use(id));
}

TEST_CASE("our own offers stop where the peer's patience ends") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) { options.timing.answer = kLong; }};
  Shim b{loop, net.pod(2), Net::v4(2), [](Options& options) { options.limits.offers = 4; }};
  REQUIRE(a.discover(b) == State::kShunt);
  b.heard.silent = true;
  std::vector<Route> routes;
  int busy = 0;
  for (std::uint16_t i = 0; i < 6; ++i) {
    const auto route = a.peers->route(b.address);
    REQUIRE(route);
    routes.push_back(*route);
    a.peers->offer(*route, a.offer_to(b, i),
                   [&](auto got) { busy += !got && got.error() == Refusal::kBusy ? 1 : 0; });
  }
  CHECK(busy == 2);
  a.peers->withdraw(routes[0]);
  a.peers->offer(*a.peers->route(b.address), a.offer_to(b, 9), [](auto) {});
  REQUIRE(until(loop, [&] { return b.heard.offers.size() == 5; }));
  CHECK(b.peers->state(a.address) == State::kShunt);
}

TEST_CASE("no more peers than the limit; an unused one makes room") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1), [](Options& options) {
           options.limits.peers = 2;
           options.timing.recent = milliseconds{200};
         }};
  Shim b{loop, net.pod(2), Net::v4(2)};
  Shim c{loop, net.pod(3), Net::v4(3)};
  Shim d{loop, net.pod(4), Net::v4(4)};
  CHECK(a.discover(b) == State::kShunt);
  CHECK(a.discover(c) == State::kShunt);
  a.host.streams = 1;
  CHECK(until(loop, [&] { return a.heard.up.size() == 4; }));
  CHECK(a.discover(d) == State::kUnknown);
  CHECK(d.discover(a) == State::kNot);
  CHECK(d.view_of(a).why.find("busy") == 0);
  CHECK(a.peers->view().counters.crowded == 2);
  a.host.streams = 0;
  turn(loop, milliseconds{250});
  REQUIRE(a.peers->route(c.address));  // b is the one that nobody uses
  CHECK(a.discover(d) == State::kShunt);
  CHECK(a.peers->state(b.address) == State::kUnknown);
  CHECK(a.peers->state(c.address) == State::kShunt);
}

TEST_CASE("five hundred peers, some KB each") {
  if (!root()) return;
  constexpr int kPeers = 500;
  EventLoop loop;
  Net net;
  const auto at = [](int i) {
    return "198.18." + std::to_string(8 + i / 250) + "." + std::to_string(1 + i % 250);
  };
  const Namespace& many = net.pod(2);
  std::string add = "ip -batch - <<END\n";
  for (int i = 0; i < kPeers; ++i) add += "addr add " + at(i) + "/32 dev eth0\n";
  many.run(add + "END");
  const auto patient = [](Options& options) {
    options.timing.wait = options.timing.handshake = options.timing.ping = kLong;
  };
  // In a process of their own: what is measured here is one shim.
  std::array<int, 2> listening{};
  REQUIRE(::pipe2(listening.data(), O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    EventLoop own;
    std::vector<std::unique_ptr<Shim>> shims;
    for (int i = 0; i < kPeers; ++i)
      shims.push_back(std::make_unique<Shim>(own, many, at(i), patient));
    if (::write(listening[1], "x", 1) != 1) ::_exit(1);
    own.run();
    ::_exit(0);
  }
  Shim a{loop, net.pod(1), Net::v4(1), [&](Options& options) {
           patient(options);
           options.limits.dials = kPeers;
           options.limits.strangers = kPeers;  // all call back at once
         }};
  char ready = 0;  // written when the last of them listens
  REQUIRE(::read(listening[0], &ready, 1) == 1);
  const auto used = [] { return static_cast<std::size_t>(::mallinfo2().uordblks); };
  const std::size_t before = used();
  int up = 0;
  int answers = 0;
  constexpr int kAtOnce = 50;
  for (int i = 0; i < kPeers; ++i) {
    a.peers->discover(ip(at(i)), [&](State state) {
      ++answers;
      up += state == State::kShunt ? 1 : 0;
    });
    REQUIRE(until(loop, [&] { return i + 1 - answers < kAtOnce; }));
  }
  REQUIRE(until(loop, [&] { return answers == kPeers; }));
  for (const PeerView& none : a.peers->view().not_shunt) MESSAGE(none.why);
  CHECK(up == kPeers);
  turn(loop, milliseconds{100});
  const std::size_t each = (used() - before) / kPeers;
  MESSAGE("bytes for each peer: " << each);
  CHECK(each < 6 * 1024);
  CHECK(a.peers->view().peers.size() == kPeers);
  ::kill(child, SIGKILL);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  for (const int fd : listening) ::close(fd);
}
