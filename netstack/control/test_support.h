// For the tests of this folder: pods as network namespaces on one bridge, a fabric that does what a
// test says, a delegate that writes down what it hears, and a stranger that speaks frames by hand.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "netstack/base/netns.h"
#include "netstack/control/channel.h"
#include "netstack/control/codec.h"
#include "netstack/control/handshake.h"
#include "netstack/control/peers.h"

namespace shunt::control::test {

using std::chrono::milliseconds;

inline IpAddress ip(const std::string& text) { return *parse_address(text); }
inline Bytes bytes_of(std::string_view text) {
  const View view = std::as_bytes(std::span{text});
  return {view.begin(), view.end()};
}
inline std::string text_of(View bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline bool root() {
  if (::geteuid() == 0) return true;
  MESSAGE("skipped: needs root for network namespaces");
  return false;
}

/// Bounds of what should come at once: only a test that fails waits for so long.
constexpr milliseconds kLong{60'000};

/// Turns the loop until it is so. False: it is not so after `bound`.
inline bool until(EventLoop& loop, const std::function<bool()>& so, milliseconds bound = kLong) {
  const auto end = EventLoop::Clock::now() + bound;
  while (!so()) {
    if (EventLoop::Clock::now() > end) return false;
    loop.run_once(5);
  }
  return true;
}
inline void turn(EventLoop& loop, milliseconds time) {
  [[maybe_unused]] const bool never = until(
      loop, [] { return false; }, time);
}

/// Network namespaces without names: gone when their descriptors are closed.
class Namespace {
 public:
  Namespace() {
    const UniqueFd home = std::move(*current_netns());
    const InNetns back{home.get()};
    REQUIRE(::unshare(CLONE_NEWNET) == 0);
    fd_ = std::move(*current_netns());
    run("ip link set lo up");
  }
  int fd() const { return fd_.get(); }
  std::string path() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_.get());
  }
  void run(const std::string& command) const {
    const InNetns inside{fd_.get()};
    REQUIRE(inside.entered());
    CAPTURE(command);
    REQUIRE(std::system(command.c_str()) == 0);
  }

 private:
  UniqueFd fd_;
};

/// A bridge, and pods on it: pod n has 198.18.0.n and fd00:18::n.
class Net {
 public:
  Net() {
    switch_.run(
        "ip link add br0 type bridge mcast_snooping 0 && ip link set br0 up && "
        "ip addr add 198.18.255.254/16 dev br0 && ip addr add fd00:18::fffe/64 dev br0 nodad");
  }
  Namespace& pod(int n) {
    const auto found = pods_.find(n);
    if (found != pods_.end()) return found->second;
    Namespace& made = pods_[n];
    const std::string port = "p" + std::to_string(n);
    switch_.run("ip link add " + port + " type veth peer name eth0 netns " + made.path() +
                " && ip link set " + port + " master br0 up");
    made.run("ip link set eth0 up && ip addr add " + v4(n) + "/16 dev eth0 && ip addr add " +
             v6(n) + "/64 dev eth0 nodad");
    wait_for_path(made, "198.18.255.254");
    wait_for_path(made, "fd00:18::fffe");
    return made;
  }
  void cut(int n) { switch_.run("ip link set p" + std::to_string(n) + " down"); }
  void mend(int n) { switch_.run("ip link set p" + std::to_string(n) + " up"); }
  static std::string v4(int n) { return "198.18.0." + std::to_string(n); }
  static std::string v6(int n) { return "fd00:18::" + std::to_string(n); }

 private:
  // The kernel carries nothing over a new veth until it has noticed the carrier, up to a second
  // later; a SYN lost to that would come again after another second.
  static void wait_for_path(const Namespace& from, const std::string& to) {
    const InNetns inside{from.fd()};
    const Endpoint nobody{ip(to), 9};
    const int family = is_v4(nobody.address) ? AF_INET : AF_INET6;
    const SockAddress address = to_sockaddr(nobody, family);
    for (const auto end = EventLoop::Clock::now() + kLong; EventLoop::Clock::now() < end;) {
      const UniqueFd fd{::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      if (::connect(fd.get(), address.get(), address.length) < 0 && errno == ECONNREFUSED) return;
      pollfd waits{fd.get(), POLLOUT, 0};
      if (::poll(&waits, 1, 50) == 1 && (waits.revents & POLLERR) != 0) return;  // refused
    }
    FAIL("no path to the bridge");
  }

  Namespace switch_;
  std::map<int, Namespace> pods_;
};

/// What it does is set before a control connection comes up.
class FakeFabric : public fabric::Fabric {
 public:
  enum class Way { kAtOnce, kHeld, kFails };
  explicit FakeFabric(Kind which) : kind_{which} {}

  class FakeLink : public fabric::Link {
   public:
    FakeLink(FakeFabric& fabric, fabric::LinkSetup setup)
        : fabric_{fabric}, setup_{std::move(setup)} {
      fabric_.links.insert(this);
    }
    ~FakeLink() override { fabric_.links.erase(this); }
    void open(StreamId, fabric::MakeEnds, fabric::HalfDone) override {}
    void accept(StreamId, View, fabric::MakeEnds, fabric::HalfDone) override {}
    Status complete(StreamId, View) override { return Done{}; }
    void abandon(StreamId) override {}
    void on_message(View message) override { fabric_.heard.push_back(text_of(message)); }
    fabric::LinkView view() const override {
      return {fabric_.kind_, "open", std::vector<fabric::StreamView>(fabric_.streams), {}};
    }
    void send(std::string_view text) { setup_.send(bytes_of(text)); }
    void send(Bytes bytes) { setup_.send(std::move(bytes)); }
    void fail(int error) { setup_.failed(Error{error, "fake link"}); }
    const fabric::LinkSetup& setup() const { return setup_; }

   private:
    FakeFabric& fabric_;
    fabric::LinkSetup setup_;
  };

  Kind kind() const override { return kind_; }
  Bytes advertise() const override { return bytes_of(advert); }
  Result<std::monostate, std::string> fits(View hello) const override {
    advertised = text_of(hello);
    if (!misfit.empty()) return misfit;
    return std::monostate{};
  }
  void link(fabric::LinkSetup setup, fabric::LinkDone done) override {
    ++asked;
    for (const std::string& text : says_at_start) setup.send(bytes_of(text));
    if (way == Way::kFails) return done(Error{ENODEV, "fake link"});
    if (way == Way::kHeld) return held_.emplace_back(std::move(setup), std::move(done)), void();
    done(std::unique_ptr<fabric::Link>{new FakeLink{*this, std::move(setup)}});
  }
  void release() {
    for (auto& [setup, done] : std::exchange(held_, {}))
      done(std::unique_ptr<fabric::Link>{new FakeLink{*this, std::move(setup)}});
  }
  FakeLink& only_link() {
    REQUIRE(links.size() == 1);
    return **links.begin();
  }

  Way way = Way::kAtOnce;
  std::string advert = "fake";
  std::string misfit;                      ///< a sentence: does not fit
  std::vector<std::string> says_at_start;  ///< sent to the peer before the link is there
  std::set<FakeLink*> links;               ///< alive
  std::vector<std::string> heard;          ///< by any of its links, in order
  std::size_t streams = 0;                 ///< that its links say they carry
  int asked = 0;
  mutable std::string advertised;

 private:
  Kind kind_;
  std::vector<std::pair<fabric::LinkSetup, fabric::LinkDone>> held_;
};

/// Accepts every offer unless told otherwise.
class Recorder : public Delegate {
 public:
  void on_state(const IpAddress& peer, State state) override { states[peer] = state; }
  void on_offer(const Route& route, const Offer& offer) override {
    offers.emplace_back(route, offer);
    if (silent) return;
    if (refusal)
      peers->refuse(route, *refusal);
    else
      CHECK(peers->accept(route, AF_INET, bytes_of("yes")));
  }
  void on_confirm(const Route& route) override { confirmed.push_back(route); }
  void on_withdraw(const Route& route) override { withdrawn.push_back(route); }
  void on_pass(const IpAddress&, const Endpoint& client, const Endpoint& server) override {
    passed.emplace_back(client, server);
  }
  void on_link_up(const IpAddress&, std::uint64_t, Kind kind) override { up.push_back(kind); }
  void on_link_down(const IpAddress&, std::uint64_t, Kind kind) override { down.push_back(kind); }
  void on_lost(const IpAddress& peer) override { lost.push_back(peer); }

  Peers* peers = nullptr;
  bool silent = false;
  std::optional<Refusal> refusal;
  std::map<IpAddress, State> states;
  std::vector<std::pair<Route, Offer>> offers;
  std::vector<Route> confirmed, withdrawn;
  std::vector<std::pair<Endpoint, Endpoint>> passed;
  std::vector<Kind> up, down;
  std::vector<IpAddress> lost;
};

/// A pod with a shim.
struct Shim {
  EventLoop& loop;
  IpAddress address;
  Recorder heard;
  FakeFabric host{Kind::kHost};
  FakeFabric window{Kind::kWindow};
  std::unique_ptr<Peers> peers;

  using Change = std::function<void(Options&)>;
  Shim(EventLoop& on, const Namespace& in, const std::string& at, const Change& change = {})
      : loop{on}, address{ip(at)} {
    Options options;
    options.addresses = {address};
    options.netns = in.fd();
    options.fabrics = {&window, &host};
    options.self = {"node-of-" + at, 7, "test/pod-" + at};
    // The machine is busy, and both shims of a test share a thread: what is to run out within a
    // test is set there.
    options.timing.wait = options.timing.handshake = options.timing.answer = milliseconds{10'000};
    if (change) change(options);
    auto opened = Peers::open(loop, std::move(options), heard);
    REQUIRE_MESSAGE(opened, describe(opened.error()));
    peers = std::move(*opened);
    heard.peers = peers.get();
  }

  State discover(const IpAddress& peer) {
    std::optional<State> answer;
    peers->discover(peer, [&](State state) { answer = state; });
    REQUIRE(until(loop, [&] { return answer.has_value(); }));
    return *answer;
  }
  State discover(const Shim& other) { return discover(other.address); }
  Offer offer_to(const Shim& other, std::uint16_t port = 40000) const {
    Offer offer;
    offer.client = {address, port};
    offer.server = {other.address, 80};
    offer.service = offer.server;
    offer.message = bytes_of("offered");
    return offer;
  }
  Result<Accept, Refusal> ask(const Route& route, Offer offer) {
    std::optional<Result<Accept, Refusal>> answer;
    peers->offer(route, std::move(offer),
                 [&](Result<Accept, Refusal> got) { answer = std::move(got); });
    REQUIRE(until(loop, [&] { return answer.has_value(); }));
    return std::move(*answer);
  }
  PeerView view_of(const Shim& other) const {
    const PeersView all = peers->view();
    for (const auto* list : {&all.peers, &all.not_shunt})
      for (const PeerView& one : *list)
        if (one.address == other.address) return one;
    return {};
  }
};

/// Speaks frames by hand, from inside a pod: a container, or a shim that has gone bad.
class Stranger {
 public:
  /// Connects, or takes what has been accepted.
  Stranger(EventLoop& loop, const Namespace& in, const std::string& to, std::uint16_t port = 7471)
      : loop_{loop} {
    const InNetns inside{in.fd()};
    const Endpoint peer{ip(to), port};
    const int family = is_v4(peer.address) ? AF_INET : AF_INET6;
    fd_ = UniqueFd{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const SockAddress address = to_sockaddr(peer, family);
    REQUIRE(::connect(fd_.get(), address.get(), address.length) == 0);
  }
  Stranger(EventLoop& loop, UniqueFd accepted) : loop_{loop}, fd_{std::move(accepted)} {}

  void send(const Message& message) { send(encode(message)); }
  void send(View bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno != EAGAIN) return;
      if (n < 0)
        loop_.run_once(1);
      else
        bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
  }
  /// The next message; empty if the connection has ended or nothing comes.
  std::optional<Message> next() {
    std::optional<Message> message;
    [[maybe_unused]] const bool came = until(loop_, [&] {
      read();
      Frame whole;
      if (frame(in_, whole) == Framing::kWhole) {
        message = decode(whole.type, whole.payload);
        last_payload.assign(whole.payload.begin(), whole.payload.end());
        in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(whole.size));
        return true;
      }
      return ended_;
    });
    return message;
  }
  /// The next one of this type; others are skipped.
  template <typename T>
  std::optional<T> next_of() {
    while (auto message = next())
      if (const T* found = std::get_if<T>(&*message)) return *found;
    return std::nullopt;
  }
  bool ended() {
    return until(loop_, [&] {
      read();
      return ended_;
    });
  }
  std::uint16_t port() const { return local_endpoint(fd_.get())->port; }
  int fd() const { return fd_.get(); }

  Bytes last_payload;

 private:
  void read() {
    std::array<std::byte, 4096> buffer{};
    for (;;) {
      const ssize_t n = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        ended_ = true;
        return;
      }
      in_.insert(in_.end(), buffer.begin(), buffer.begin() + n);
    }
  }
  EventLoop& loop_;
  UniqueFd fd_;
  Bytes in_;
  bool ended_ = false;
};

inline const std::string kKey = "a cluster key for tests";
inline void keyed(Options& options) { options.key = kKey; }

/// Gets through the handshake with the key: from then on a peer, with whatever it sends next.
/// Its own fabrics: host. False: was not let in.
inline bool get_in(Stranger& stranger, const IpAddress& self, const IpAddress& peer) {
  Hello hello;
  hello.instance = 4711;
  hello.nonce.fill(std::byte{42});
  Handshake handshake{{Role::kDialling, kKey, hello, self, peer}};
  for (const Message& message : handshake.start()) stranger.send(message);
  for (;;) {
    const auto message = stranger.next();
    if (!message) return false;
    std::vector<Message> send;
    const auto step = handshake.on(*message, stranger.last_payload, send);
    for (const Message& out : send) stranger.send(out);
    if (step == Handshake::Step::kFailed) return false;
    if (step == Handshake::Step::kUp) break;
  }
  stranger.send(Info{"bad", 1, "bad/pod", 16, {{Kind::kHost, bytes_of("fake")}}});
  return true;
}

/// A listening socket in a pod, as a container would make it.
inline Result<UniqueFd> listen_in(const Namespace& in, const std::string& at, std::uint16_t port,
                                  int share = 0) {
  const InNetns inside{in.fd()};
  const Endpoint endpoint{ip(at), port};
  const int family = is_v4(endpoint.address) ? AF_INET : AF_INET6;
  UniqueFd fd{::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const int on = 1;
  if (share != 0 && ::setsockopt(fd.get(), SOL_SOCKET, share, &on, sizeof on) < 0)
    return last_error("setsockopt");
  const SockAddress address = to_sockaddr(endpoint, family);
  if (::bind(fd.get(), address.get(), address.length) < 0) return last_error("bind");
  if (::listen(fd.get(), 16) < 0) return last_error("listen");
  return fd;
}

}  // namespace shunt::control::test
