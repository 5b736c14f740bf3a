#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <vector>

#include "netstack/fabric/contract.h"
#include "netstack/fabric/contract_app.h"
#include "netstack/window/faulty_memory.h"
#include "netstack/window/pair_of_fabrics.h"

using namespace shunt;
using namespace shunt::window;
using namespace std::chrono_literals;

namespace {

fabric::contract::Pair here(EventLoop& loop, MoveFunction<void(Error)> first,
                            MoveFunction<void(Error)> second) {
  return join_here(loop, std::move(first), std::move(second));
}

fabric::contract::Pair over_a_bad_bus(EventLoop& loop, MoveFunction<void(Error)> first,
                                      MoveFunction<void(Error)> second) {
  return join_here(loop, std::move(first), std::move(second), [](Options& options) {
    options.peer_memory = [](SharedMemory memory, UniqueFd bell) -> std::unique_ptr<PeerMemory> {
      return std::make_unique<FaultyMemory>(
          std::move(memory), std::move(bell),
          BusFaults{.seed = 5, .lost_bells = 0, .double_bells = 30});
    };
  });
}

fabric::contract::Pair to_a_child(EventLoop& loop, MoveFunction<void(Error)> first,
                                  MoveFunction<void(Error)> second) {
  return join_child(loop, std::move(first), std::move(second));
}

}  // namespace

SHUNT_FABRIC_CONTRACT("window", here)
SHUNT_FABRIC_CONTRACT("window, bad bus", over_a_bad_bus)
SHUNT_FABRIC_CONTRACT("window, two processes", to_a_child)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("window", here)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("window, bad bus", over_a_bad_bus)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("window, two processes", to_a_child)

namespace {

using fabric::contract::Bench;

/// A link whose other side's memory the test can reach: it keeps what the fabrics made.
struct Tampered {
  std::vector<PeerMemory*> memories;  ///< of the dialling and the listening side
  fabric::contract::MakePair maker() {
    return
        [this](EventLoop& loop, MoveFunction<void(Error)> first, MoveFunction<void(Error)> second) {
          return join_here(loop, std::move(first), std::move(second), [this](Options& options) {
            options.peer_memory = [this](SharedMemory memory, UniqueFd bell) {
              auto made = std::make_unique<PeerMemory>(std::move(memory), std::move(bell));
              memories.push_back(made.get());
              return made;
            };
          });
        };
  }
};

void check_connection_reset(Bench& bench, fabric::contract::App& app) {
  CHECK(bench.until([&] {
    app.read(100);
    return app.read_error != 0 || app.ended;
  }));
  CHECK(app.read_error == ECONNRESET);
}

}  // namespace

TEST_CASE("positions that cannot be end the link") {
  const struct {
    std::size_t at;
    std::uint64_t value;
  } lies[] = {{kTailAt, ~0ull}, {kTailAt, kMessages + 8}, {kTailAt, 8 * 1000000},
              {kTailAt, 12345}, {kHeadAt, 1ull << 40},    {kHeadAt, ~0ull}};
  for (const auto& lie : lies) {
    CAPTURE(lie.at);
    CAPTURE(lie.value);
    Tampered tampered;
    Bench bench{tampered.maker()};
    auto stream = bench.connect(1);
    bench.settle(3);
    tampered.memories[0]->store(lie.at, lie.value);
    tampered.memories[0]->ring();
    const auto either = [&] { return bench.dialled_failed + bench.listened_failed; };
    CHECK(bench.until([&] { return either() != 0; }));
    CHECK(either() == EPROTO);
    check_connection_reset(bench, stream.client.fd() >= 0 && bench.dialled_failed != 0
                                      ? stream.client
                                      : stream.server);
  }
}

TEST_CASE("garbage in the message ring ends the link, and nothing worse") {
  std::mt19937 random{9};
  for (int round = 0; round < 50; ++round) {
    Tampered tampered;
    Bench bench{tampered.maker()};
    auto stream = bench.connect(1);
    bench.settle(3);
    // Whoever got which: both peers get the same.
    for (PeerMemory* memory : tampered.memories) {
      const auto place = memory->stage(kMessagesAt, 4096);
      for (auto& byte : place) byte = static_cast<std::byte>(random());
      memory->store(kTailAt, 8 * (1 + random() % 500));
      memory->ring();
    }
    CHECK(bench.until([&] { return bench.dialled_failed != 0 && bench.listened_failed != 0; }));
  }
}

TEST_CASE("another epoch ends the link") {
  bool reborn = false;
  const auto make = [&reborn](EventLoop& loop, MoveFunction<void(Error)> first,
                              MoveFunction<void(Error)> second) {
    return join_here(loop, std::move(first), std::move(second), [&reborn](Options& options) {
      options.mover.beat = 5ms;
      options.peer_memory = [&reborn](SharedMemory memory,
                                      UniqueFd bell) -> std::unique_ptr<PeerMemory> {
        struct Reborn final : PeerMemory {
          Reborn(SharedMemory window, UniqueFd its_bell, const bool& is)
              : PeerMemory{std::move(window), std::move(its_bell)}, reborn{is} {}
          void store(std::size_t at, std::uint64_t value) override {
            PeerMemory::store(at, at == kEpochAt && reborn ? value + 1 : value);
          }
          const bool& reborn;
        };
        return std::make_unique<Reborn>(std::move(memory), std::move(bell), reborn);
      };
    });
  };
  Bench bench{make};
  auto stream = bench.connect(1);
  reborn = true;
  CHECK(bench.until([&] { return bench.dialled_failed != 0 && bench.listened_failed != 0; }));
  check_connection_reset(bench, stream.client);
  check_connection_reset(bench, stream.server);
}

TEST_CASE("lost bells delay, and lose nothing") {
  const auto make = [](EventLoop& loop, MoveFunction<void(Error)> first,
                       MoveFunction<void(Error)> second) {
    return join_here(loop, std::move(first), std::move(second), [](Options& options) {
      options.peer_memory = [](SharedMemory memory, UniqueFd bell) -> std::unique_ptr<PeerMemory> {
        return std::make_unique<FaultyMemory>(std::move(memory), std::move(bell),
                                              BusFaults{.seed = 6, .lost_bells = 10});
      };
    });
  };
  Bench bench{make};
  auto stream = bench.connect(1);
  constexpr std::uint64_t kTotal = 4u << 20;
  CHECK(bench.until([&] {
    if (stream.client.written < kTotal)
      stream.client.write(std::min<std::size_t>(50000, kTotal - stream.client.written));
    stream.server.read(65536);
    return stream.server.got == kTotal;
  }));
  CHECK_FALSE(stream.server.wrong);
}

TEST_CASE("a killed peer is noticed at once, a stopped one after some beats") {
  const bool stopped = [] {
    bool which = false;
    SUBCASE("killed") {}
    SUBCASE("stopped") { which = true; }
    return which;
  }();
  // Short enough to wait for ten of them, and too long for a child that is merely kept waiting.
  const auto make = [stopped](EventLoop& loop, MoveFunction<void(Error)> first,
                              MoveFunction<void(Error)> second) {
    return join_child(loop, std::move(first), std::move(second),
                      [stopped](Options& options) { options.mover.beat = stopped ? 200ms : 60s; });
  };
  Bench bench{make};
  auto stream = bench.connect(1);
  stream.client.write(100000);
  bench.settle(5);
  ::kill(child_pid(*bench.pair.listened), stopped ? SIGSTOP : SIGKILL);
  CHECK(bench.until([&] { return bench.dialled_failed != 0; }));
  CHECK(bench.dialled_failed == (stopped ? ETIMEDOUT : ECONNRESET));
  check_connection_reset(bench, stream.client);
}

TEST_CASE("nothing moves before the nonce has come over the control connection") {
  EventLoop loop;
  Directory directory;
  Options options;
  options.directory = directory.path;
  auto one = make_fabric(loop, options);
  auto other = make_fabric(loop, options);
  REQUIRE(one);
  REQUIRE(other);
  std::unique_ptr<fabric::Link> links[2];
  std::vector<fabric::Bytes> nonces;
  const auto start = [&](fabric::Fabric& own, const fabric::Fabric& peer, int which) {
    fabric::LinkSetup setup;
    setup.dialled = which == 0;
    setup.hello = peer.advertise();
    setup.send = [&](fabric::Bytes bytes) { nonces.push_back(std::move(bytes)); };
    own.link(std::move(setup), [&links, which](Result<std::unique_ptr<fabric::Link>> link) {
      REQUIRE(link);
      links[which] = std::move(*link);
    });
  };
  start(**one, **other, 0);
  start(**other, **one, 1);
  for (int i = 0; i < 100 && !(links[0] && links[1]); ++i) loop.run_once(1);
  REQUIRE(links[0]);
  REQUIRE(links[1]);
  CHECK(nonces.size() == 2);
  CHECK(links[0]->view().state == "waiting for the peer's word");
  links[0]->on_message(fabric::Bytes(16));
  CHECK(links[0]->view().state == "waiting for the peer's word");
  // One of the two is the peer's; our own does not count.
  links[0]->on_message(nonces[0]);
  links[0]->on_message(nonces[1]);
  CHECK(links[0]->view().state == "up");
}

TEST_CASE("a fabric says which peers it fits") {
  EventLoop loop;
  Directory directory, elsewhere;
  Options options;
  options.directory = directory.path;
  auto one = make_fabric(loop, options);
  auto other = make_fabric(loop, options);
  options.directory = elsewhere.path;
  auto far = make_fabric(loop, options);
  REQUIRE(one);
  REQUIRE(other);
  REQUIRE(far);
  CHECK((*one)->fits((*other)->advertise()));
  CHECK((*one)->advertise().size() <= 512);
  CHECK((*one)->fits((*far)->advertise()).error() == "it uses another window directory");
  CHECK((*one)->fits({}).error() == "its window hello makes no sense");
  auto foreign = (*other)->advertise();
  foreign[12] ^= std::byte{1};
  CHECK((*one)->fits(foreign).error() == "it runs on another kernel");
  options.directory = "/nowhere";
  const auto none = make_fabric(loop, options);
  REQUIRE_FALSE(none);
  CHECK(none.error().number == ENOENT);
}

TEST_CASE("a peer that does not come to the rendezvous costs a bounded time") {
  EventLoop loop;
  Directory directory;
  Options options;
  options.directory = directory.path;
  options.wait = 30ms;
  auto one = make_fabric(loop, options);
  auto other = make_fabric(loop, options);
  REQUIRE(one);
  REQUIRE(other);
  for (const bool dialled : {true, false}) {
    int number = 0;
    fabric::LinkSetup setup;
    setup.dialled = dialled;
    setup.hello = (*other)->advertise();
    setup.send = [](fabric::Bytes) {};
    (*one)->link(std::move(setup), [&](Result<std::unique_ptr<fabric::Link>> link) {
      number = link ? -1 : link.error().number;
    });
    for (int i = 0; i < 500 && number == 0; ++i) loop.run_once(1);
    CHECK((number == ETIMEDOUT || number == EPROTO));
  }
}
