// The mover's promises, over the fake device or (SHUNT_VERBS_REAL=1, scripts/rdma-guest) a real
// one.
#include <doctest/doctest.h>
#include <poll.h>

#include <cstring>
#include <random>

#include "netstack/verbs/joined.h"

namespace shunt::verbs {
namespace {

constexpr ring::Extent kRing{kSlab + 65536, 65536};  // somewhere in the second slab

/// A device that must be left as it was found.
struct Calm {
  std::unique_ptr<Calls> calls = test_calls();
  ~Calm() { CHECK(calls->live == 0); }
};

/// `b` lets `a` write kRing.
std::uint32_t grant(Joined& pair) {
  const auto key = pair.b.mover->commit(kSlab);
  REQUIRE(key);
  REQUIRE(pair.a.mover->adopt(kRing, *key));
  return *key;
}

std::vector<std::byte> record(std::size_t size, unsigned value) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(value * 31 + i);
  return bytes;
}

std::uint64_t counter(const VerbsMover& mover, std::string_view name) {
  for (const auto& [known, value] : mover.counters())
    if (known == name) return value;
  FAIL("no counter " << std::string{name});
  return 0;
}

bool readable(int fd, int milliseconds) {
  pollfd wait{fd, POLLIN, 0};
  return ::poll(&wait, 1, milliseconds) == 1;
}

/// The error that ends a mover, when it has come.
int ending(Joined& pair, Side& side) {
  int error = 0;
  pair.until([&] {
    const auto any = side.mover->receive(side.got);
    if (!any) error = any.error().number;
    return error != 0;
  });
  return error;
}

Tuning hasty() {
  Tuning tuning;
  tuning.timeout = 10;  // 4 ms
  tuning.retries = 3;
  return tuning;
}

}  // namespace

TEST_CASE("a device bears what a peer may be silent, or half of it") {
  using std::chrono::milliseconds;
  for (const int silence : {100, 3000, 6000, 60'000, 600'000}) {
    CAPTURE(silence);
    const auto patience = Tuning::bearing(milliseconds{silence}).patience();
    CHECK(patience <= milliseconds{silence});
    CHECK(patience * 2 >= milliseconds{silence});
  }
  CHECK(Tuning::bearing(milliseconds{6000}).timeout == Tuning{}.timeout);
  CHECK(Tuning{}.patience() > milliseconds{3500});
}

TEST_CASE("records arrive whole and in order, both ways, on every lane") {
  Calm device;
  Joined pair{*device.calls, small_limits(2)};
  std::mt19937 random{1};
  constexpr std::size_t kTotal = 400000;  // many times around the ring
  struct Flow {
    Side& from;
    Side& to;
    unsigned lane;
    std::vector<std::byte> sent;
  };
  Flow flows[] = {{pair.a, pair.b, 0, {}},
                  {pair.a, pair.b, 1, {}},
                  {pair.b, pair.a, 0, {}},
                  {pair.b, pair.a, 1, {}}};
  unsigned value = 0;
  REQUIRE(pair.until([&] {
    bool all = true;
    for (Flow& flow : flows) {
      VerbsMover& mover = *flow.from.mover;
      for (int i = 0; i < 20 && flow.sent.size() < kTotal; ++i) {
        const std::size_t size = 8 * (1 + random() % (random() % 8 == 0 ? 512 : 30));
        const auto room = mover.room(flow.lane);
        if (room.records < size || room.calls == 0) {
          pair.for_room = true;
          break;
        }
        const auto bytes = record(size, ++value);
        mover.publish(flow.lane, bytes, random() % 2 == 0);
        flow.sent.insert(flow.sent.end(), bytes.begin(), bytes.end());
      }
      REQUIRE(mover.flush());
      all = all && flow.sent.size() >= kTotal &&
            flow.to.got.lanes[flow.lane].size() == flow.sent.size();
    }
    // The last may have been published without waking anybody.
    (void)pair.a.receive();
    (void)pair.b.receive();
    return all;
  }));
  for (const Flow& flow : flows) CHECK(flow.to.got.lanes[flow.lane] == flow.sent);
  for (const Side* const side : {&pair.a, &pair.b}) {
    CHECK(counter(*side->mover, "rnr errors") == 0);
    CHECK(counter(*side->mover, "send completions") <= counter(*side->mover, "signalled"));
  }
}

TEST_CASE("bytes are there before the records that were published after them") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  grant(pair);
  VerbsMover& sender = *pair.a.mover;
  for (unsigned round = 0; round < 200; ++round) {
    const auto bytes = record(round % 3 == 0 ? 100 : 5000, round);
    const ring::Extent part{kRing.offset + (round % 8) * 8192,
                            static_cast<std::uint32_t>(bytes.size())};
    std::memcpy(sender.stage(part).data(), bytes.data(), bytes.size());
    sender.push(0, part);
    sender.publish(0, record(8, round), true);
    REQUIRE(sender.flush());
    REQUIRE(pair.until([&] { return pair.b.got.lanes[0].size() == 8 * (round + 1); }));
    const auto seen = pair.b.mover->region().subspan(part.offset, part.size);
    REQUIRE(std::equal(bytes.begin(), bytes.end(), seen.begin()));
  }
  // One in 32 asked for a completion, and each turn was one list.
  CHECK(counter(sender, "work requests") == 400);
  CHECK(counter(sender, "posts") == 200);
  CHECK(counter(sender, "signalled") == 400 / Lane::kSignalEvery);
}

TEST_CASE("what is published in one turn leaves together, after the bytes") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  grant(pair);
  VerbsMover& sender = *pair.a.mover;
  for (unsigned i = 0; i < 10; ++i) {
    sender.publish(0, record(16, i), false);
    sender.push(0, {kRing.offset + i * 1024, 1024});
  }
  REQUIRE(sender.flush());
  CHECK(counter(sender, "work requests") == 11);
  CHECK(counter(sender, "publishes") == 1);
  CHECK(counter(sender, "posts") == 1);
  REQUIRE(pair.until([&] {
    (void)pair.b.receive();
    return pair.b.got.lanes[0].size() == 160;
  }));
  CHECK(pair.b.got.calls == 1);
}

TEST_CASE("a receiver that does not look stops the sender before anything breaks") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  VerbsMover& sender = *pair.a.mover;
  unsigned sent = 0;
  for (;; ++sent) {
    const auto room = sender.room(0);
    if (room.calls == 0 || room.records < 64) break;
    sender.publish(0, record(64, sent), true);
    REQUIRE(sender.flush());
    // Completions do come; what does not is the peer's word.
    REQUIRE(pair.a.receive());
    REQUIRE(sent < 10000);
  }
  CHECK(sent >= 64);
  CHECK(sender.state().starts_with("up"));
  REQUIRE(pair.b.receive());
  pair.for_room = true;
  REQUIRE(pair.until([&] { return sender.room(0).calls > 64 && sender.room(0).records >= 8192; }));
  CHECK(pair.b.got.lanes[0].size() == sent * 64);
  CHECK(counter(sender, "rnr errors") == 0);
}

TEST_CASE("only records that are to wake a sleeper do") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  REQUIRE(pair.b.mover->arm(false));
  pair.a.mover->publish(0, record(8, 1), false);
  REQUIRE(pair.a.mover->flush());
  CHECK_FALSE(readable(pair.b.mover->event_fd(), 100));
  pair.a.mover->publish(0, record(8, 2), true);
  REQUIRE(pair.a.mover->flush());
  CHECK(readable(pair.b.mover->event_fd(), 60'000));
  pair.b.mover->disarm();
  CHECK_FALSE(readable(pair.b.mover->event_fd(), 0));
  REQUIRE(pair.b.receive());
  CHECK(pair.b.got.lanes[0].size() == 16);
  CHECK(counter(*pair.b.mover, "wake-ups") == 1);
}

TEST_CASE("arming tells of what came before") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  pair.a.mover->publish(0, record(8, 1), false);
  REQUIRE(pair.a.mover->flush());
  REQUIRE(pair.until([&] {
    (void)pair.b.mover->arm(false);
    (void)pair.b.receive();
    return pair.b.got.lanes[0].size() == 8;
  }));
}

TEST_CASE("memory is given back when nobody uses it, and keys change") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  const std::size_t own = pair.own.left;
  const std::size_t mirrors = pair.mirrors.left;
  const std::uint32_t key = grant(pair);
  CHECK(pair.own.left == own - kSlab);
  CHECK(pair.mirrors.left == mirrors - kSlab);
  VerbsMover& sender = *pair.a.mover;
  sender.push(0, kRing);
  sender.publish(0, record(8, 0), true);
  REQUIRE(sender.flush());
  REQUIRE(pair.until([&] { return pair.b.got.calls == 1; }));
  // A second ring of the slab keeps it.
  REQUIRE(sender.adopt({kSlab, 65536}, key));
  sender.drop(kRing);
  REQUIRE(sender.flush());
  CHECK(pair.mirrors.left == mirrors - kSlab);
  sender.drop({kSlab, 65536});
  REQUIRE(sender.flush());
  REQUIRE(pair.until([&] { return pair.mirrors.left == mirrors; }));
  pair.b.mover->release(kSlab);
  CHECK(pair.own.left == own);
  CHECK(grant(pair) != key);
}

TEST_CASE("a ring may be adopted again while the old mirror waits") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  const std::uint32_t key = grant(pair);
  pair.a.mover->push(0, kRing);
  pair.a.mover->drop(kRing);
  REQUIRE(pair.a.mover->adopt(kRing, key + 1));
  CHECK(pair.a.mover->adopt(kRing, key).error().number == EPROTO);
  pair.a.mover->drop(kRing);
}

TEST_CASE("limits of memory are kept on both sides") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  pair.own.left = kSlab;
  pair.mirrors.left = kSlab;
  const auto key = pair.b.mover->commit(0);
  REQUIRE(key);
  CHECK(pair.b.mover->commit(kSlab).error().number == ENOBUFS);
  REQUIRE(pair.a.mover->adopt({0, 65536}, *key));
  CHECK(pair.a.mover->adopt({2 * kSlab, 65536}, *key).error().number == ENOBUFS);
}

TEST_CASE("a key that was taken back ends the link at both sides") {
  Calm device;
  Joined pair{*device.calls, small_limits(), hasty()};
  grant(pair);
  pair.b.mover->release(kSlab);
  pair.a.mover->push(0, kRing);
  pair.a.mover->publish(0, record(8, 0), true);
  REQUIRE(pair.a.mover->flush());
  CHECK(ending(pair, pair.a) == ECONNRESET);
  CHECK(counter(*pair.a.mover, "access errors") == 1);
  CHECK(pair.b.got.calls == 0);
  // The other side notices at the latest when it sends.
  pair.b.mover->publish(0, record(8, 0), true);
  (void)pair.b.mover->flush();
  CHECK(ending(pair, pair.b) != 0);
}

TEST_CASE("a peer that is gone is noticed") {
  Calm device;
  Joined pair{*device.calls, small_limits(2), hasty()};
  pair.b.mover.reset();
  pair.a.mover->publish(1, record(8, 0), true);
  REQUIRE(pair.a.mover->flush());
  CHECK(ending(pair, pair.a) == ETIMEDOUT);
  CHECK(counter(*pair.a.mover, "retry errors") == 1);
  CHECK_FALSE(pair.a.mover->flush());
}

TEST_CASE("ending a link from outside wakes its owner") {
  Calm device;
  Joined pair{*device.calls, small_limits()};
  REQUIRE(pair.a.mover->arm(false));
  CHECK_FALSE(readable(pair.a.mover->event_fd(), 0));
  pair.a.mover->fail({ENETDOWN, "test"});
  pair.a.mover->fail({EIO, "test"});
  CHECK(readable(pair.a.mover->event_fd(), 0));
  pair.a.mover->disarm();
  CHECK(pair.a.mover->receive(pair.a.got).error().number == ENETDOWN);
}

TEST_CASE("links come and go without leaving anything") {
  Calm device;
  for (int i = 0; i < 10; ++i) {
    Joined pair{*device.calls, small_limits(2)};
    grant(pair);
    pair.a.mover->push(0, kRing);
    pair.a.mover->publish(0, record(8, 0), true);
    REQUIRE(pair.a.mover->flush());
    if (i % 2 == 0) {
      CHECK(pair.until([&] { return pair.b.got.calls == 1; }));
    }
  }
}

}  // namespace shunt::verbs
