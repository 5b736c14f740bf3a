// Who may be a peer: callers nobody vouches for, keys, versions, garbage, replays.
#include <doctest/doctest.h>

#include "netstack/control/peers.h"
#include "netstack/control/proof.h"
#include "netstack/control/test_support.h"

using namespace shunt;
using namespace shunt::control;
using namespace shunt::control::test;

namespace {
Hello hello_with(unsigned char fill, bool with_key = false) {
  Hello hello;
  hello.keyed = with_key;
  hello.instance = 1;
  hello.nonce.fill(std::byte{fill});
  return hello;
}
}  // namespace

TEST_CASE("nothing in the pod can listen on the port, or share it") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  {
    Shim a{loop, net.pod(1), Net::v4(1)};
    for (const int share : {0, SO_REUSEADDR, SO_REUSEPORT}) {
      CAPTURE(share);
      CHECK(listen_in(net.pod(1), Net::v4(1), 7471, share).error().number == EADDRINUSE);
      CHECK(listen_in(net.pod(1), "0.0.0.0", 7471, share).error().number == EADDRINUSE);
      CHECK(listen_in(net.pod(1), "::", 7471, share).error().number == EADDRINUSE);
    }
  }
  const auto before = listen_in(net.pod(1), "0.0.0.0", 7471, SO_REUSEADDR);
  REQUIRE(before);
  Options options;
  options.addresses = {ip(Net::v4(1))};
  options.netns = net.pod(1).fd();
  Recorder nobody;
  CHECK(Peers::open(loop, options, nobody).error().number == EADDRINUSE);
}

TEST_CASE("a shim that comes back finds its port free, though old connections linger") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  auto a = std::make_unique<Shim>(loop, net.pod(1), Net::v4(1));
  Shim b{loop, net.pod(2), Net::v4(2)};
  CHECK(b.discover(*a) == State::kShunt);
  a.reset();  // closes first: TIME_WAIT is on its port
  const Shim again{loop, net.pod(1), Net::v4(1)};
}

TEST_CASE("a container's call is not taken for the shim's") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1)};
  Shim b{loop, net.pod(2), Net::v4(2)};

  SUBCASE("out of the blue") {
    Stranger container{loop, net.pod(1), Net::v4(2)};
    container.send(hello_with(7));
    CHECK(container.next_of<Hello>());
    const auto bye = container.next_of<Bye>();
    REQUIRE(bye);
    CHECK(bye->reason == Reason::kNotVerified);
    CHECK(container.ended());
    CHECK(b.peers->state(a.address) == State::kUnknown);
    CHECK(b.peers->view().counters.forged == 1);
  }
  SUBCASE("with the nonce of a call of the shim's that is under way, from another port") {
    // Seen with CAP_NET_RAW, say: here a server that is no shim gets the shim's HELLO.
    const auto server = listen_in(net.pod(3), Net::v4(3), 7471);
    REQUIRE(server);
    a.peers->discover(ip(Net::v4(3)), [](State) {});
    UniqueFd taken;
    REQUIRE(until(loop, [&] {
      taken = UniqueFd{::accept4(server->get(), nullptr, nullptr, SOCK_CLOEXEC)};
      return taken.valid();
    }));
    Stranger called{loop, std::move(taken)};
    const auto hello = called.next_of<Hello>();
    REQUIRE(hello);
    // The container replays it to b.
    Stranger container{loop, net.pod(1), Net::v4(2)};
    container.send(*hello);
    CHECK(container.next_of<Bye>()->reason == Reason::kNotVerified);
    // And pod 3 asks in another's place: a vouches only to whom it calls.
    Stranger asks{loop, net.pod(2), Net::v4(1)};
    asks.send(Verify{1, 1, remote_endpoint(called.fd())->port, hello->nonce});
    CHECK_FALSE(asks.next_of<Verified>()->yours);
    // The one it calls is told the truth, once.
    Stranger wrong_port{loop, net.pod(3), Net::v4(1)};
    wrong_port.send(Verify{1, 1, 1, hello->nonce});
    CHECK_FALSE(wrong_port.next_of<Verified>()->yours);
    Stranger right{loop, net.pod(3), Net::v4(1)};
    right.send(Verify{1, 1, remote_endpoint(called.fd())->port, hello->nonce});
    CHECK(right.next_of<Verified>()->yours);
    Stranger twice{loop, net.pod(3), Net::v4(1)};
    twice.send(Verify{1, 1, remote_endpoint(called.fd())->port, hello->nonce});
    CHECK_FALSE(twice.next_of<Verified>()->yours);
  }
  SUBCASE("and its HELLO does not learn who we are") {
    Stranger container{loop, net.pod(1), Net::v4(2)};
    container.send(hello_with(7));
    while (const auto message = container.next())
      CHECK_FALSE(std::holds_alternative<Info>(*message));
  }
  SUBCASE("though the real one gets through meanwhile") {
    Stranger container{loop, net.pod(1), Net::v4(2)};
    container.send(hello_with(7));
    CHECK(a.discover(b) == State::kShunt);
    CHECK(b.peers->state(a.address) == State::kShunt);
  }
}

TEST_CASE("who cannot be called back is told why") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1),
         [](Options& options) { options.timing.wait = options.timing.handshake = kLong; }};
  Shim b{loop, net.pod(2), Net::v4(2),
         [](Options& options) { options.timing.handshake = milliseconds{1000}; }};
  net.pod(1).run("iptables -A INPUT -p tcp --dport 7471 -j DROP");
  CHECK(a.discover(b) == State::kNot);
  CHECK(a.view_of(b).why == "not verified: the shim at the caller's address did not vouch");
  CHECK(b.peers->view().counters.forged == 1);
}

TEST_CASE("the cluster key") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  SUBCASE("is enough where nobody can be called back") {
    Shim a{loop, net.pod(1), Net::v4(1), keyed};
    Shim b{loop, net.pod(2), Net::v4(2), keyed};
    net.pod(1).run("iptables -A INPUT -p tcp --dport 7471 -j DROP");
    CHECK(a.discover(b) == State::kShunt);
    CHECK(until(loop, [&] { return b.peers->state(a.address) == State::kShunt; }));
  }
  SUBCASE("is another one: refused, counted, kernel path") {
    Shim a{loop, net.pod(1), Net::v4(1), keyed};
    Shim b{loop, net.pod(2), Net::v4(2),
           [](Options& options) { options.key = "quite another cluster key"; }};
    CHECK(a.discover(b) == State::kNot);
    CHECK(b.peers->view().counters.wrong_key == 1);
    CHECK(a.peers->view().counters.wrong_key == 1);
    CHECK(a.view_of(b).why == "key: the proof does not fit this cluster key");
    CHECK(b.peers->state(a.address) == State::kUnknown);
  }
  SUBCASE("is on one side only") {
    Shim a{loop, net.pod(1), Net::v4(1)};
    Shim b{loop, net.pod(2), Net::v4(2), keyed};
    CHECK(a.discover(b) == State::kNot);
    CHECK(b.discover(a) == State::kNot);
    CHECK(a.view_of(b).why.find("key: has ") == 0);
    CHECK(a.peers->view().counters.wrong_key >= 1);
    CHECK(b.peers->view().counters.wrong_key >= 1);
  }
  SUBCASE("must be long enough") {
    Options options;
    options.addresses = {ip(Net::v4(1))};
    options.netns = net.pod(1).fd();
    options.key = "short";
    Recorder nobody;
    CHECK(Peers::open(loop, options, nobody).error().number == EINVAL);
  }
}

TEST_CASE("a recorded HELLO and PROOF are worth nothing on another connection") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim b{loop, net.pod(2), Net::v4(2), keyed};
  const IpAddress self = ip(Net::v4(1));
  // Recorded: what a shim with the key says in its pod's network.
  const Hello hello = hello_with(9, true);
  const auto prove_on = [&](Stranger& stranger) {
    stranger.send(hello);
    REQUIRE(stranger.next_of<Hello>());
    const Bytes whole = encode(hello);
    const Transcript transcript{View{whole}.subspan(kFrameHeader), stranger.last_payload, self,
                                b.address};
    return Proof{prove(kKey, Role::kDialling, transcript)};
  };
  Proof recorded;
  {
    Stranger shim{loop, net.pod(1), Net::v4(2)};
    recorded = prove_on(shim);
    shim.send(recorded);
    CHECK(shim.next_of<Info>());  // right, there
  }
  Stranger container{loop, net.pod(1), Net::v4(2)};
  container.send(hello);
  container.send(recorded);
  CHECK(container.next_of<Bye>()->reason == Reason::kKey);
  // Its own proof sent back to it is not one either.
  Stranger mirror{loop, net.pod(1), Net::v4(2)};
  mirror.send(hello);
  REQUIRE(mirror.next_of<Hello>());
  const Bytes whole = encode(hello);
  mirror.send(
      Proof{prove(kKey, Role::kDialled,
                  {View{whole}.subspan(kFrameHeader), mirror.last_payload, self, b.address})});
  CHECK(mirror.next_of<Bye>()->reason == Reason::kKey);
  CHECK(b.peers->view().counters.wrong_key == 2);
}

TEST_CASE("versions") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim b{loop, net.pod(2), Net::v4(2), keyed};
  Stranger caller{loop, net.pod(1), Net::v4(2)};
  Hello hello = hello_with(3, true);
  SUBCASE("none that both speak") {
    hello.version = 9;
    hello.min_version = 8;
    caller.send(hello);
    CHECK(caller.next_of<Hello>()->version == kSpoken);  // it learns what we speak
    const auto bye = caller.next_of<Bye>();
    REQUIRE(bye);
    CHECK(bye->reason == Reason::kVersion);
    CHECK(bye->why == "speaks versions 1 to 1, the other side's are 8 to 9");
    CHECK(b.peers->view().counters.version == 1);
  }
  SUBCASE("a newer one that still speaks ours, and says more in HELLO") {
    hello.version = 9;
    hello.min_version = 1;
    Bytes longer = encode(hello);
    longer.push_back(std::byte{1});
    longer[0] = static_cast<std::byte>(longer.size() - 4);
    caller.send(longer);
    REQUIRE(caller.next_of<Hello>());
    const Transcript transcript{View{longer}.subspan(kFrameHeader), caller.last_payload,
                                ip(Net::v4(1)), b.address};
    caller.send(Proof{prove(kKey, Role::kDialling, transcript)});
    CHECK(caller.next_of<Proof>());
    CHECK(caller.next_of<Info>());
  }
  SUBCASE("the called side is too old, or too new") {
    const auto server = listen_in(net.pod(3), Net::v4(3), 7471);
    std::optional<State> answer;
    b.peers->discover(ip(Net::v4(3)), [&](State state) { answer = state; });
    UniqueFd taken;
    REQUIRE(until(loop, [&] {
      taken = UniqueFd{::accept4(server->get(), nullptr, nullptr, SOCK_CLOEXEC)};
      return taken.valid();
    }));
    Stranger called{loop, std::move(taken)};
    REQUIRE(called.next_of<Hello>());
    hello.version = 9;
    hello.min_version = 8;
    called.send(hello);
    CHECK(called.next_of<Bye>()->reason == Reason::kVersion);
    CHECK(until(loop, [&] { return answer == State::kNot; }));
    CHECK(b.peers->view().not_shunt.at(0).why.find("version: speaks versions 1 to 1") == 0);
  }
}

TEST_CASE("garbage before a peer has proved who it is") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim b{loop, net.pod(2), Net::v4(2)};
  const auto connect = [&] { return Stranger{loop, net.pod(1), Net::v4(2)}; };
  SUBCASE("a web client") {
    auto client = connect();
    client.send(bytes_of("GET / HTTP/1.1\r\n\r\n"));
    CHECK(client.next_of<Bye>()->reason == Reason::kProtocol);
    CHECK(client.ended());
  }
  SUBCASE("a frame of no known type") {
    auto client = connect();
    client.send(bytes_of(std::string("\x02\0\0\0\x7f\0", 6)));
    CHECK(client.next_of<Bye>()->reason == Reason::kProtocol);
  }
  SUBCASE("a type to be skipped is") {
    auto client = connect();
    client.send(Unknown{200});
    client.send(hello_with(1));
    CHECK(client.next_of<Hello>());
  }
  SUBCASE("messages that belong later") {
    for (const Message& message :
         std::vector<Message>{Info{}, Proof{}, Ping{1}, Verified{true}, Confirm{1}}) {
      auto client = connect();
      client.send(message);
      CHECK(client.next_of<Bye>()->reason == Reason::kProtocol);
    }
  }
  SUBCASE("two HELLOs") {
    auto client = connect();
    client.send(hello_with(1));
    client.send(hello_with(1));
    CHECK(client.next_of<Bye>());
  }
  SUBCASE("a frame byte by byte") {
    auto client = connect();
    const Bytes hello = encode(hello_with(1));
    for (std::size_t i = 0; i < hello.size(); ++i) {
      client.send(View{hello}.subspan(i, 1));
      loop.run_once(0);
    }
    CHECK(client.next_of<Hello>());
  }
  CHECK(b.peers->state(ip(Net::v4(1))) == State::kUnknown);  // the pod is not to blame
  Shim a{loop, net.pod(1), Net::v4(1)};
  CHECK(a.discover(b) == State::kShunt);
}

TEST_CASE("who says half of a word, or none, is waited for no longer than a handshake may take") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim b{loop, net.pod(2), Net::v4(2),
         [](Options& options) { options.timing.handshake = milliseconds{1000}; }};
  Stranger client{loop, net.pod(1), Net::v4(2)};
  SUBCASE("half a frame, and then nothing") {
    const Bytes hello = encode(hello_with(1));
    client.send(View{hello}.first(20));
  }
  SUBCASE("nothing at all") {}
  CHECK(client.ended());
  CHECK(b.peers->state(ip(Net::v4(1))) == State::kUnknown);  // the pod is not to blame
  Shim a{loop, net.pod(1), Net::v4(1)};
  CHECK(a.discover(b) == State::kShunt);
}

TEST_CASE("a server that is no shim on the port of another pod") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim a{loop, net.pod(1), Net::v4(1),
         [](Options& options) { options.timing.handshake = milliseconds{300}; }};
  const auto server = listen_in(net.pod(2), Net::v4(2), 7471);
  std::optional<State> answer;
  a.peers->discover(ip(Net::v4(2)), [&](State state) { answer = state; });
  UniqueFd taken;
  REQUIRE(until(loop, [&] {
    taken = UniqueFd{::accept4(server->get(), nullptr, nullptr, SOCK_CLOEXEC)};
    return taken.valid();
  }));
  SUBCASE("says something else") {
    Stranger called{loop, std::move(taken)};
    called.send(bytes_of("SSH-2.0-OpenSSH_9.2\r\n"));
    REQUIRE(until(loop, [&] { return answer.has_value(); }));
  }
  SUBCASE("says nothing") {
    REQUIRE(until(loop, [&] { return answer.has_value(); }));
  }
  SUBCASE("closes") {
    taken.reset();
    REQUIRE(until(loop, [&] { return answer.has_value(); }));
  }
  CHECK(*answer == State::kNot);
  CHECK(a.peers->state(ip(Net::v4(2))) == State::kNot);
}

TEST_CASE("callers without a proof have a few places, and others are not kept out") {
  if (!root()) return;
  EventLoop loop;
  Net net;
  Shim b{loop, net.pod(2), Net::v4(2)};
  std::vector<std::unique_ptr<Stranger>> crowd;
  for (int i = 0; i < 30; ++i)
    crowd.push_back(std::make_unique<Stranger>(loop, net.pod(1), Net::v4(2)));
  REQUIRE(until(loop, [&] { return b.peers->view().counters.accepted == 30; }));
  CHECK(b.peers->view().counters.crowded == 22);
  Shim c{loop, net.pod(3), Net::v4(3)};
  CHECK(c.discover(b) == State::kShunt);
}
