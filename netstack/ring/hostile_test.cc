// A link whose peer is the test itself, speaking records by hand: what cannot be true resets the
// stream it is about, what is no record ends the link, and nothing else happens.
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <random>

#include "netstack/fabric/contract.h"
#include "netstack/fabric/contract_app.h"
#include "netstack/ring/link.h"
#include "netstack/ring/memory_mover.h"
#include "netstack/ring/record.h"

using namespace shunt;
using namespace shunt::ring;
using fabric::contract::App;

namespace {

struct Peer : Mover::Receiver {
  explicit Peer(const MemoryFaults& faults = {}) {
    auto [one, other] = MemoryMover::pair(faults);
    honest = one.get();
    mover = std::move(other);
    link = make_link(loop, fabric::Kind::kMemory, std::move(one), "hostile",
                     [this](Error error) { failed = error.number; });
  }
  void on_records(unsigned, std::span<const std::byte> records) override {
    while (!records.empty()) {
      const auto record = decode(records);
      REQUIRE(record);
      heard.push_back(*record);
      if (record->op == Op::kInline) inlined_[record->stream] += record->bytes.size();
      heard.back().bytes = {};  // gone after this call
    }
  }
  void say(const Record& record) {
    std::vector<std::byte> bytes;
    encode(record, bytes);
    mover->publish(0, bytes, true);
    (void)mover->flush();
  }
  void turns(int count = 4) {
    for (int i = 0; i < count; ++i) {
      loop.run_once(1);
      if (link) (void)mover->receive(*this);
    }
  }
  template <class Predicate>
  bool until(Predicate done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{60};
    while (!done() && std::chrono::steady_clock::now() < end) turns(1);
    return done();
  }
  /// Bytes that came inside records.
  std::uint64_t inlined(std::uint32_t stream) { return inlined_[stream]; }
  /// The last record of this kind for a stream since the last forget.
  const Record* last(Op op, std::uint32_t stream) const {
    for (auto it = heard.rbegin(); it != heard.rend(); ++it)
      if (it->op == op && it->stream == stream) return &*it;
    return nullptr;
  }
  /// Accepted here, so that its offer must be made by hand.
  App accept(std::uint32_t id) {
    auto half = try_accept(id);
    REQUIRE(half);
    return App{std::move(half->application), id, id};
  }
  bool accepts(std::uint32_t id) {
    const auto half = try_accept(id);
    if (!half) CHECK(half.error().number == ENOBUFS);
    return static_cast<bool>(half);
  }
  Result<fabric::Half> try_accept(std::uint32_t id) {
    static constexpr std::array<std::uint8_t, 8> kOffer{'s', 'h', 'r', 'o', 1, 0, 0, 0};
    Result<fabric::Half> result{Error{EAGAIN, "not answered"}};
    link->accept(
        id, std::as_bytes(std::span{kOffer}),
        [] {
          std::array<int, 2> ends{};
          REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                               ends.data()) == 0);
          return Result<fabric::Ends>{fabric::Ends{UniqueFd{ends[0]}, UniqueFd{ends[1]}}};
        },
        [&](Result<fabric::Half> half) { result = std::move(half); });
    return result;
  }
  bool was_reset(App& app) {
    for (int i = 0; i < 20 && app.read_error == 0 && !app.ended; ++i) {
      turns(1);
      app.read(65536);
    }
    return app.read_error == ECONNRESET;
  }
  std::uint64_t counter(std::string_view name) const {
    for (const auto& [key, value] : link->view().counters)
      if (key == name) return value;
    return ~0ull;
  }

  EventLoop loop;
  MemoryMover* honest = nullptr;
  std::unique_ptr<MemoryMover> mover;
  std::unique_ptr<fabric::Link> link;
  std::vector<Record> heard;
  int failed = 0;

 private:
  std::map<std::uint32_t, std::uint64_t> inlined_;
};

constexpr std::uint32_t kSlab = MemoryFaults{}.slab;

Record cursor(Op op, std::uint64_t value) {
  return {.op = op, .stream = 7, .cursor = value, .bytes = {}};
}
Record plain(Op op) { return {.op = op, .stream = 7, .bytes = {}}; }
Record grant(std::uint32_t id, std::uint32_t offset, std::uint32_t size, std::uint32_t key) {
  return {.op = Op::kGrant, .stream = id, .offset = offset, .size = size, .key = key, .bytes = {}};
}
Record grant(std::uint32_t offset, std::uint32_t size, std::uint32_t key = 0) {
  return grant(7, offset, size, key);
}

}  // namespace

TEST_CASE("what cannot be true resets the stream it is about, and only that") {
  const std::vector<std::byte> some(100);
  const std::vector<std::byte> much(kMostInline);
  const Record inline_some{.op = Op::kInline, .stream = 7, .bytes = some};
  const Record inline_much{.op = Op::kInline, .stream = 7, .bytes = much};
  struct Lie {
    const char* what;
    std::vector<Record> records;
  };
  const std::array lies{
      Lie{"data without a ring", {cursor(Op::kData, 10)}},
      Lie{"data beyond the ring",
          {plain(Op::kWant), plain(Op::kMoved), cursor(Op::kData, (64 << 10) + 1)}},
      Lie{"data that goes back",
          {plain(Op::kWant), plain(Op::kMoved), cursor(Op::kData, 9), cursor(Op::kData, 9)}},
      Lie{"data at the end of all numbers",
          {plain(Op::kWant), plain(Op::kMoved), cursor(Op::kData, ~0ull)}},
      Lie{"credit for what was not sent", {cursor(Op::kCredit, 1)}},
      Lie{"moved to a ring that was not granted", {plain(Op::kMoved)}},
      Lie{"moved twice", {plain(Op::kWant), plain(Op::kMoved), plain(Op::kMoved)}},
      Lie{"a ring given back that was not there", {plain(Op::kRelease)}},
      Lie{"a ring given back with bytes in it",
          {plain(Op::kWant), plain(Op::kMoved), inline_some, plain(Op::kRelease)}},
      Lie{"a ring outside of the region", {grant(64u << 20, 65536)}},
      Lie{"a ring that wraps around", {grant(0xFFFF0000, 0x10000)}},
      Lie{"a ring of no power of two", {grant(0, 65535)}},
      Lie{"a ring that is not aligned", {grant(4096, 65536)}},
      Lie{"a ring that is too large", {grant(0, 2u << 20)}},
      Lie{"a ring that is too small", {grant(0, 8)}},
      Lie{"a ring with a wrong key", {grant(0, 65536, 12345)}},
      Lie{"bytes after the end", {plain(Op::kFinish), inline_some}},
      Lie{"two ends", {plain(Op::kFinish), plain(Op::kFinish)}},
      Lie{"a wish after the end", {plain(Op::kFinish), plain(Op::kWant)}},
  };
  for (const Lie& lie : lies) {
    CAPTURE(lie.what);
    Peer peer;
    App bystander = peer.accept(9);
    App victim = peer.accept(7);
    for (const Record& record : lie.records) {
      peer.say(record);
      peer.turns(2);
    }
    CHECK(peer.was_reset(victim));
    CHECK(peer.counter("streams reset for what the peer said") == 1);
    CHECK(peer.last(Op::kReset, 7) != nullptr);
    CHECK(peer.failed == 0);
    REQUIRE(bystander.write(10) == 10);
    peer.turns();
    CHECK(peer.last(Op::kInline, 9) != nullptr);
    CHECK(peer.honest->broken_rules == 0);
  }
  // More than may be under way without a ring, to an application that does not read.
  Peer peer;
  App victim = peer.accept(7);
  for (int i = 0; i < 3 && peer.failed == 0; ++i) peer.say(inline_much);
  peer.turns();
  CHECK(peer.was_reset(victim));
}

TEST_CASE("ring memory is not given out again while the peer may still write there") {
  Peer peer;
  App app = peer.accept(7);
  peer.say(plain(Op::kWant));
  peer.turns();
  const Record* granted = peer.last(Op::kGrant, 7);
  REQUIRE(granted != nullptr);
  peer.link->abandon(7);
  peer.turns();
  CHECK(peer.last(Op::kReset, 7) != nullptr);
  CHECK(peer.counter("ring memory held") == 64u << 10);
  peer.say({.op = Op::kReset, .stream = 7, .error = ECONNRESET, .bytes = {}});
  peer.turns();
  CHECK(peer.counter("ring memory held") == 0);
  CHECK(peer.link->view().streams.empty());
}

// Peers say nothing when they have read the last of a ring: MOVED, FIN and RELEASE say at once that
// it is theirs again, and its slab may come back with another key before any CREDIT.
TEST_CASE("memory that was left may be granted anew before all in it is confirmed") {
  for (const bool by_moving : {false, true}) {
    CAPTURE(by_moving);
    Peer peer;
    App first = peer.accept(7);
    App second = peer.accept(9);
    const auto key = peer.mover->commit(0);
    peer.say(grant(7, 0, 64 << 10, *key));
    peer.turns();
    REQUIRE(first.write(20'000) == 20'000);
    peer.turns();
    REQUIRE(peer.last(Op::kData, 7) != nullptr);
    if (by_moving) {
      const auto other = peer.mover->commit(kSlab);
      peer.say(grant(7, kSlab, 128 << 10, *other));
      peer.turns();
      REQUIRE(first.write(20'000) == 20'000);
    } else {
      first.shut_write();
    }
    peer.turns();
    REQUIRE(peer.last(by_moving ? Op::kMoved : Op::kFinish, 7) != nullptr);
    peer.mover->release(0);
    const auto again = peer.mover->commit(0);
    peer.say(grant(9, 0, 64 << 10, *again));
    if (by_moving) {  // the next one, too
      peer.turns();
      peer.say(grant(7, 128 << 10, 128 << 10, *again));
    }
    peer.turns();
    REQUIRE(second.write(20'000) == 20'000);
    peer.turns();
    CHECK(peer.last(Op::kData, 9) != nullptr);
    CHECK(peer.last(Op::kReset, 9) == nullptr);
    CHECK(peer.last(Op::kReset, 7) == nullptr);
    CHECK(peer.honest->broken_rules == 0);
  }
}

TEST_CASE("a ring that there is no memory for here waits, and its stream goes on") {
  Peer peer{{.mirrors = 1}};
  App first = peer.accept(7);
  App second = peer.accept(9);
  App third = peer.accept(11);
  const auto one = peer.mover->commit(0);
  const auto two = peer.mover->commit(kSlab);
  peer.say(grant(7, 0, 64 << 10, *one));
  peer.turns();
  REQUIRE(first.write(20'000) == 20'000);
  peer.turns();
  REQUIRE(peer.last(Op::kData, 7) != nullptr);

  // More than goes inside records at once, so it has to be waited for.
  peer.say(grant(9, kSlab, 64 << 10, *two));
  peer.turns();
  REQUIRE(second.write(20'000) == 20'000);
  peer.turns();
  std::uint64_t arrived = peer.inlined(9);
  CHECK((arrived > 0 && arrived <= 4096));
  CHECK(peer.last(Op::kMoved, 9) == nullptr);
  CHECK(peer.counter("rings that waited for memory here") == 1);
  // Meanwhile the kernel's path is better for others.
  CHECK_FALSE(peer.accepts(13));
  peer.say({.op = Op::kCredit, .stream = 9, .cursor = arrived, .bytes = {}});
  peer.turns();
  CHECK(peer.inlined(9) > arrived);
  arrived = peer.inlined(9);

  // One with nothing to send does not keep what it cannot use.
  peer.say(grant(11, kSlab + (64 << 10), 64 << 10, *two));
  REQUIRE(peer.until([&] { return peer.last(Op::kRelease, 11) != nullptr; }));
  CHECK(peer.last(Op::kMoved, 11) != nullptr);

  // The other one has gone quiet, and gives its ring back.
  peer.say(cursor(Op::kCredit, 20'000));
  REQUIRE(peer.until([&] { return peer.last(Op::kMoved, 9) != nullptr; }));
  peer.say({.op = Op::kCredit, .stream = 9, .cursor = arrived, .bytes = {}});
  REQUIRE(peer.until([&] { return peer.last(Op::kData, 9) != nullptr; }));
  CHECK(peer.last(Op::kData, 9)->cursor == 20'000);
  CHECK(peer.last(Op::kRelease, 7) != nullptr);
  for (const std::uint32_t id : {7u, 9u, 11u}) CHECK(peer.last(Op::kReset, id) == nullptr);
  CHECK(peer.counter("streams reset for what the peer said") == 0);
  CHECK(peer.accepts(13));
  CHECK(peer.honest->broken_rules == 0);
}

TEST_CASE("records of streams that are not here are passed over") {
  Peer peer;
  App app = peer.accept(9);
  for (int op = 1; op <= 10; ++op) {
    const std::vector<std::byte> some(8);
    Record record{.op = static_cast<Op>(op), .stream = 4711, .bytes = {}};
    if (record.op == Op::kInline) record.bytes = some;
    peer.say(record);
  }
  peer.turns();
  CHECK(peer.counter("records of unknown streams") == 10);
  CHECK(peer.failed == 0);
}

TEST_CASE("what is no record ends the link") {
  Peer peer;
  App app = peer.accept(7);
  const std::array<std::byte, 16> nonsense{std::byte{200}};
  peer.mover->publish(0, nonsense, true);
  (void)peer.mover->flush();
  peer.turns();
  CHECK(peer.failed == EPROTO);
  CHECK(peer.was_reset(app));
}

TEST_CASE("a storm of true and untrue records breaks nothing") {
  std::mt19937 random{42};
  std::uint64_t said = 0;
  for (int round = 0; round < 40; ++round) {
    Peer peer{{.seed = static_cast<std::uint32_t>(round + 1), .region = 4u << 20}};
    std::vector<App> apps;
    std::uint32_t next = 1;
    std::array<std::uint64_t, 64> at{};
    for (int step = 0; step < 2000; ++step) {
      if (apps.size() < 30 && random() % 20 == 0) apps.push_back(peer.accept(next++ * 2));
      Record record{.op = static_cast<Op>(1 + random() % 9), .bytes = {}};
      if (random() % 200 == 0) record.op = Op::kReset;
      record.stream = static_cast<std::uint32_t>((1 + random() % 32) * 2);
      std::vector<std::byte> bytes(1 + random() % 600);
      if (record.op == Op::kInline) record.bytes = bytes;
      std::uint64_t& position = at[record.stream / 2];
      if (record.op == Op::kData)
        position = record.cursor = random() % 50 == 0 ? random() : position + random() % 3000;
      if (record.op == Op::kCredit) record.cursor = random() % 30 == 0 ? random() : 0;
      if (record.op == Op::kGrant) {
        record.size = 4096u << (random() % 10);
        record.offset =
            static_cast<std::uint32_t>(random() % (5u << 20)) / record.size * record.size;
      }
      if (record.op == Op::kFinish && random() % 10 != 0) continue;
      if (peer.mover->room(0).records < 4096 || peer.mover->room(0).calls < 4) peer.turns(1);
      peer.say(record);
      ++said;
      if (random() % 8 == 0) peer.turns(1);
      if (!apps.empty()) {
        App& app = apps[random() % apps.size()];
        app.write(random() % 5000);
        app.read(random() % 5000);
      }
    }
    peer.turns();
    CHECK(peer.failed == 0);
    CHECK(peer.honest->broken_rules == 0);
  }
  MESSAGE(said << " records");
}
