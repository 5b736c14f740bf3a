// Two nodes are two network namespaces joined by a veth pair. Needs root; says so otherwise.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "netstack/host/host_fabric.h"
#include "netstack/host/message.h"
#include "netstack/host/node_address.h"

using namespace shunt;
using namespace shunt::host;
using namespace std::chrono_literals;
using fabric::Bytes;

namespace {

constexpr std::uint16_t kFirstPort = 7472;
constexpr std::uint16_t kSecondPort = 7473;

void run(const std::string& command) {
  REQUIRE_MESSAGE(std::system((command + " 2>/dev/null").c_str()) == 0, command);
}

struct Node {
  std::string name;
  UniqueFd netns;
  explicit Node(const char* suffix) : name{fmt::format("host-test-{}-{}", ::getpid(), suffix)} {
    run("ip netns add " + name);
    netns = UniqueFd{::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC)};
    run("ip -n " + name + " link set lo up");
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() { [[maybe_unused]] const int done = std::system(("ip netns del " + name).c_str()); }

  template <typename F>
  auto in(F call) const {
    const InNetns inside{netns.get()};
    REQUIRE(inside.entered());
    return call();
  }
  UniqueFd listen(const std::string& address, std::uint16_t port) const {
    return in([&] {
      UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      const SockAddress own = to_sockaddr({*parse_address(address), port}, AF_INET);
      REQUIRE(::bind(socket.get(), own.get(), own.length) == 0);
      REQUIRE(::listen(socket.get(), 8) == 0);
      return socket;
    });
  }
};

struct Nodes {
  Node a{"a"};
  Node b{"b"};
  Nodes() {
    run("ip link add eth0 netns " + a.name + " type veth peer name eth0 netns " + b.name);
    run("ip -n " + a.name + " addr add 192.0.2.1/24 dev eth0");
    run("ip -n " + b.name + " addr add 192.0.2.2/24 dev eth0");
    run("ip -n " + a.name + " link set eth0 up");
    run("ip -n " + b.name + " link set eth0 up");
  }
};

/// One side: a fabric, and its link once there is one.
struct Side {
  EventLoop& loop;
  std::unique_ptr<HostFabric> fabric;
  std::unique_ptr<fabric::Link> link;
  std::vector<Bytes> early;
  std::optional<Error> failed;
  Side* other = nullptr;

  Side(EventLoop& on, const Node& node) : loop{on} {
    auto made = HostFabric::create(loop, {node.netns.get(), "", {kFirstPort, 16}, true});
    REQUIRE_MESSAGE(made, (made ? "" : made.error()));
    fabric = std::move(*made);
  }
  void receive(const Bytes& message) {
    if (link == nullptr) {
      early.push_back(message);
    } else {
      link->on_message(message);
    }
  }
  void make_link() {
    fabric::LinkSetup setup;
    setup.peer_name = "peer";
    setup.hello = other->fabric->advertise();
    REQUIRE(fabric->fits(setup.hello));
    setup.send = [this](Bytes bytes) {
      loop.post([this, bytes = std::move(bytes)] { other->receive(bytes); });
    };
    setup.failed = [this](Error error) { failed = error; };
    fabric->link(std::move(setup), [this](Result<std::unique_ptr<fabric::Link>> made) {
      REQUIRE(made);
      link = std::move(*made);
      for (const Bytes& message : std::exchange(early, {})) link->on_message(message);
    });
  }
};

struct Pair {
  Nodes nodes;
  EventLoop loop;
  Side a{loop, nodes.a};
  Side b{loop, nodes.b};
  fabric::StreamId last = 1;

  Pair() {
    a.other = &b;
    b.other = &a;
  }
  bool until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!done() && std::chrono::steady_clock::now() < end) loop.run_once(20);
    return done();
  }
  void connect() {
    a.make_link();
    b.make_link();
    REQUIRE(until([&] { return a.link != nullptr && b.link != nullptr; }));
  }
  struct Ends {
    UniqueFd client;
    UniqueFd server;
  };
  /// On a busy machine the pool may be empty for longer than open() waits.
  Ends stream() {
    std::optional<Result<fabric::Half>> opened;
    REQUIRE(until([&] {
      if (opened && *opened) return true;
      if (!opened || opened->error().number == ENOBUFS) {
        opened.reset();
        last += 2;
        std::optional<Result<fabric::Half>> answer;
        a.link->open(last, {}, [&](Result<fabric::Half> half) { answer.emplace(std::move(half)); });
        REQUIRE(until([&] { return answer.has_value(); }));
        opened = std::move(answer);
      }
      return opened && *opened;
    }));
    std::optional<Result<fabric::Half>> accepted;
    b.link->accept(last, (*opened)->message, {},
                   [&](Result<fabric::Half> half) { accepted.emplace(std::move(half)); });
    REQUIRE(until([&] { return accepted.has_value(); }));
    REQUIRE(*accepted);
    REQUIRE(a.link->complete(last, (*accepted)->message));
    return {std::move((*opened)->application), std::move((*accepted)->application)};
  }
};

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 30'000) == 1;
}

enum class Expect { kYes, kNo };  // how long to wait for it

bool connects(int socket, const Endpoint& to, Expect expected = Expect::kNo) {
  const SockAddress target = to_sockaddr(to, AF_INET);
  if (::connect(socket, target.get(), target.length) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd entry{socket, POLLOUT, 0};
  if (::poll(&entry, 1, expected == Expect::kYes ? 30'000 : 300) != 1) return false;
  return remote_endpoint(socket).has_value();
}

void disconnect(int socket) {
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  REQUIRE(::connect(socket, &none, sizeof none) == 0);
}

bool root() {
  if (::geteuid() == 0) return true;
  MESSAGE("needs root");
  return false;
}

}  // namespace

TEST_CASE("a stream is a TCP connection between the nodes") {
  if (!root()) return;
  Pair pair;
  pair.connect();
  for (int i = 0; i < 50; ++i) {
    auto ends = pair.stream();
    REQUIRE(::send(ends.client.get(), "ping", 4, 0) == 4);
    REQUIRE(readable(ends.server.get()));
    std::array<char, 8> text{};
    CHECK(::recv(ends.server.get(), text.data(), text.size(), 0) == 4);
    CHECK(remote_endpoint(ends.client.get()) == pair.b.fabric->listener());
    CHECK(to_text(remote_endpoint(ends.server.get())->address) == "192.0.2.1");
    ends.client.reset();
    REQUIRE(readable(ends.server.get()));
    CHECK(::recv(ends.server.get(), text.data(), text.size(), 0) == 0);
  }
}

TEST_CASE("streams that the other side refuses use up nothing of it") {
  if (!root()) return;
  Pair pair;
  pair.connect();
  // More than one side keeps of the other's, faster than it looks after them by itself.
  for (int i = 0; i < 600; ++i) {
    bool got = false;
    REQUIRE(pair.until([&] {
      if (got || pair.a.failed) return true;
      bool answered = false;
      pair.last += 2;
      pair.a.link->open(pair.last, {}, [&](const Result<fabric::Half>& half) {
        answered = true;
        got = static_cast<bool>(half);
      });
      REQUIRE(pair.until([&] { return answered; }));
      return got;
    }));
    REQUIRE(got);
  }
  CHECK_FALSE(pair.a.failed);
  auto ends = pair.stream();
  CHECK(::send(ends.client.get(), "x", 1, 0) == 1);
  CHECK(readable(ends.server.get()));
}

TEST_CASE("a socket becomes what the application had") {
  if (!root()) return;
  Pair pair;
  pair.connect();
  for (const int family : {AF_INET, AF_INET6}) {
    auto ends = pair.stream();
    REQUIRE(as_family(ends.client.get(), family));
    int is = 0;
    socklen_t length = sizeof is;
    ::getsockopt(ends.client.get(), SOL_SOCKET, SO_DOMAIN, &is, &length);
    CHECK(is == family);
    CHECK(::send(ends.client.get(), "x", 1, 0) == 1);
    CHECK(readable(ends.server.get()));
  }
}

TEST_CASE("a socket that a container holds goes nowhere else") {
  if (!root()) return;
  Pair pair;
  pair.connect();
  const Endpoint elsewhere{*parse_address("192.0.2.2"), 5000};
  const UniqueFd listener = pair.nodes.b.listen("192.0.2.2", 5000);
  const UniqueFd plain = pair.nodes.a.in(
      [] { return UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}; });
  CHECK(connects(plain.get(), elsewhere, Expect::kYes));

  auto ends = pair.stream();
  for (UniqueFd* end : {&ends.client, &ends.server}) {
    struct stat info {};
    REQUIRE(::fstat(end->get(), &info) == 0);
    CHECK(info.st_uid == kGuardedUser);
    REQUIRE(as_family(end->get(), AF_INET));
  }
  SUBCASE("the client's end") {
    disconnect(ends.client.get());
    CHECK_FALSE(connects(ends.client.get(), elsewhere));
  }
  SUBCASE("the server's end") {
    disconnect(ends.server.get());
    CHECK_FALSE(connects(ends.server.get(), {*parse_address("192.0.2.1"), 22}));
    // Not with a port of the range either: the pin lets nobody else answer.
    const auto own = decode_hello(pair.a.fabric->advertise());
    REQUIRE(own);
    const std::uint16_t in_range = own->listener.port == kFirstPort ? kSecondPort : kFirstPort;
    const UniqueFd other = pair.nodes.a.listen("192.0.2.1", in_range);
    disconnect(ends.server.get());
    CHECK_FALSE(connects(ends.server.get(), {*parse_address("192.0.2.1"), in_range}));
  }
  SUBCASE("listening with it") {
    disconnect(ends.server.get());
    const SockAddress own = to_sockaddr({*parse_address("192.0.2.2"), 6000}, AF_INET);
    ::bind(ends.server.get(), own.get(), own.length);  // it is bound, perhaps
    if (::listen(ends.server.get(), 1) == 0) {
      const auto where = local_endpoint(ends.server.get());
      REQUIRE(where);
      const UniqueFd caller = pair.nodes.a.in([] {
        return UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      });
      CHECK_FALSE(connects(caller.get(), {*parse_address("192.0.2.2"), where->port}));
    }
  }
  SUBCASE("the filter cannot be taken off") {
    const int zero = 0;
    CHECK(::setsockopt(ends.client.get(), SOL_SOCKET, SO_DETACH_FILTER, &zero, sizeof zero) < 0);
    CHECK(::setsockopt(ends.client.get(), SOL_SOCKET, SO_LOCK_FILTER, &zero, sizeof zero) < 0);
  }
}

TEST_CASE("the table alone and the pin alone hold a socket back") {
  if (!root()) return;
  Nodes nodes;
  const UniqueFd listener = nodes.b.listen("192.0.2.2", 5000);
  const Endpoint elsewhere{*parse_address("192.0.2.2"), 5000};
  nodes.a.in([&] {
    SUBCASE("the table") {
      auto guard = Guard::install({kFirstPort, 16});
      REQUIRE_MESSAGE(guard, (guard ? "" : guard.error()));
      CHECK((*guard)->intact());
      UniqueFd socket;
      {
        const FileOwner owner;
        socket = UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      }
      CHECK_FALSE(connects(socket.get(), elsewhere));
      run("nft delete table inet shunt");
      CHECK_FALSE((*guard)->intact());
      REQUIRE((*guard)->restore());
      CHECK((*guard)->intact());
      run("nft flush chain inet shunt guarded");
      CHECK_FALSE((*guard)->intact());
      REQUIRE((*guard)->restore());
      run("nft add table inet shunt '{ flags dormant; }'");
      CHECK_FALSE((*guard)->intact());
    }
    SUBCASE("two shims share it") {
      auto first = Guard::install({kFirstPort, 16});
      auto second = Guard::install({kFirstPort, 16});
      REQUIRE(first);
      REQUIRE(second);
      run("nft delete table inet shunt");
      REQUIRE((*second)->restore());
      CHECK((*first)->intact());
    }
    SUBCASE("the pin") {
      const UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      const Endpoint peer{*parse_address("192.0.2.2"), kFirstPort};
      bool shared = false;
      SUBCASE("of its own") { shared = false; }
      SUBCASE("shared") { shared = true; }
      const Status pinned = shared ? Pin{peer}.apply(socket.get()) : pin(socket.get(), peer);
      REQUIRE(pinned);
      CHECK_FALSE(connects(socket.get(), elsewhere));
    }
  });
}

TEST_CASE("nothing is handed out while the table is gone, and then again") {
  if (!root()) return;
  Pair pair;
  pair.connect();
  run("ip netns exec " + pair.nodes.a.name + " nft delete table inet shunt");
  // The first that needs new ones puts the table back. nft takes its time: some may be refused.
  for (fabric::StreamId id = 101; id < 109; id += 2) {
    bool answered = false;
    pair.a.link->open(id, {}, [&](Result<fabric::Half>) { answered = true; });
    REQUIRE(pair.until([&] { return answered; }));
  }
  CHECK(pair.nodes.a.in([] { return std::system("nft list table inet shunt >/dev/null 2>&1"); }) ==
        0);
}

TEST_CASE("a stranger gets nothing, a token works once") {
  if (!root()) return;
  Pair pair;
  pair.connect();
  const auto call = [&](const Token& token) {
    UniqueFd socket = pair.nodes.a.in(
        [] { return UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)}; });
    REQUIRE(connects(socket.get(), pair.b.fabric->listener(), Expect::kYes));
    const auto preface = encode_preface(token);
    REQUIRE(::send(socket.get(), preface.data(), preface.size(), 0) > 0);
    return socket;
  };
  Token token{};
  token.fill(std::byte{7});
  const UniqueFd forged = call(token);
  CHECK(pair.until([&] { return pair.b.fabric->strangers() > 0; }));
  CHECK(readable(forged.get()));  // hung up

  token.fill(std::byte{8});
  const auto granted = [&] {
    for (const auto& [name, value] : pair.b.link->view().counters)
      if (name == "arrived") return value;
    return std::uint64_t{0};
  };
  const auto before = granted();
  pair.b.link->on_message(encode(Message{Dial{{{4711, token}}}}));
  const UniqueFd first = call(token);
  CHECK(pair.until([&] { return granted() == before + 1; }));
  const UniqueFd second = call(token);
  const auto strangers = pair.b.fabric->strangers();
  CHECK(pair.until([&] { return pair.b.fabric->strangers() > strangers; }));
  CHECK(granted() == before + 1);
}

TEST_CASE("a node that cannot be reached is given up within seconds") {
  if (!root()) return;
  Pair pair;
  SUBCASE("from the beginning") {
    run("ip -n " + pair.nodes.b.name + " link set eth0 down");
    pair.a.make_link();
    CHECK(pair.until([&] { return pair.a.failed.has_value(); }));
  }
  SUBCASE("later: streams are refused at once, the link fails") {
    pair.connect();
    run("ip -n " + pair.nodes.b.name + " link set eth0 down");
    bool refused = false;
    for (int i = 0; i < 8 && !refused; ++i) {
      bool answered = false;
      std::vector<UniqueFd> kept;
      pair.a.link->open(100 + 2U * static_cast<unsigned>(i), {}, [&](Result<fabric::Half> half) {
        answered = true;
        refused = !half;
      });
      CHECK(pair.until([&] { return answered; }));
    }
    CHECK(refused);
    CHECK(pair.until([&] { return pair.a.failed.has_value(); }));
  }
}

TEST_CASE("nonsense ends the link, not the process") {
  if (!root()) return;
  Pair pair;
  pair.connect();
  const Bytes bytes{std::byte{9}, std::byte{1}, std::byte{2}};
  std::optional<Error> error;
  pair.b.link->accept(8, bytes, {}, [&](Result<fabric::Half> half) { error = half.error(); });
  REQUIRE(error);
  CHECK(error->number == EPROTO);
  CHECK_FALSE(pair.b.failed);
  pair.b.link->on_message(bytes);
  REQUIRE(pair.b.failed);
  CHECK(pair.b.failed->number == EPROTO);
}

TEST_CASE("the address of the node") {
  if (!root()) return;
  Nodes nodes;
  nodes.a.in([&] {
    CHECK(to_text(*node_address("")) == "192.0.2.1");
    CHECK(to_text(*node_address("192.0.2.1")) == "192.0.2.1");
    CHECK_FALSE(node_address("192.0.2.2"));
    run("ip -n " + nodes.a.name + " addr add 198.18.0.1/24 dev eth0");
    run("ip -n " + nodes.a.name + " route add default via 198.18.0.254 src 198.18.0.1");
    CHECK(to_text(*node_address("")) == "198.18.0.1");
  });
  const Node lonely{"c"};
  lonely.in([] { CHECK_FALSE(node_address("")); });
}
