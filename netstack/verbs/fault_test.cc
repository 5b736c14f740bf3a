// What a device does only when it or its peer is broken: over the fake device alone.
#include <doctest/doctest.h>

#include <array>
#include <cstring>

#include "netstack/verbs/joined.h"

namespace shunt::verbs {
namespace {

constexpr ring::Extent kRing{0, 65536};

struct Broken {
  Fake fake;
  Broken() { fake.gids = {*parse_address("192.0.2.1"), *parse_address("192.0.2.2")}; }
  ~Broken() { CHECK(fake.live == 0); }
};

std::array<std::byte, 64> record() { return {}; }

}  // namespace

TEST_CASE("every failed work request ends the link with an errno that says why") {
  struct Case {
    ibv_wc_status status;
    int error;
  };
  constexpr std::array kCases{Case{IBV_WC_LOC_LEN_ERR, EIO},
                              Case{IBV_WC_LOC_QP_OP_ERR, EIO},
                              Case{IBV_WC_LOC_PROT_ERR, EIO},
                              Case{IBV_WC_WR_FLUSH_ERR, ECONNRESET},
                              Case{IBV_WC_MW_BIND_ERR, EIO},
                              Case{IBV_WC_BAD_RESP_ERR, EIO},
                              Case{IBV_WC_LOC_ACCESS_ERR, EIO},
                              Case{IBV_WC_REM_INV_REQ_ERR, ECONNRESET},
                              Case{IBV_WC_REM_ACCESS_ERR, ECONNRESET},
                              Case{IBV_WC_REM_OP_ERR, ECONNRESET},
                              Case{IBV_WC_RETRY_EXC_ERR, ETIMEDOUT},
                              Case{IBV_WC_RNR_RETRY_EXC_ERR, ETIMEDOUT},
                              Case{IBV_WC_REM_ABORT_ERR, ECONNRESET},
                              Case{IBV_WC_RESP_TIMEOUT_ERR, ETIMEDOUT},
                              Case{IBV_WC_FATAL_ERR, EIO},
                              Case{IBV_WC_GENERAL_ERR, EIO}};
  for (const Case& each : kCases) {
    CAPTURE(each.status);
    Broken device;
    Joined pair{device.fake, small_limits()};
    REQUIRE(pair.a.mover->arm(false));
    device.fake.fail_next = each.status;
    pair.a.mover->publish(0, record(), true);
    REQUIRE(pair.a.mover->flush());
    const auto any = pair.a.mover->receive(pair.a.got);
    REQUIRE_FALSE(any);
    CHECK(any.error().number == each.error);
    // And for good.
    CHECK(pair.a.mover->receive(pair.a.got).error().number == each.error);
    CHECK(pair.a.mover->flush().error().number == each.error);
  }
}

TEST_CASE("whatever cannot be made leaves nothing behind") {
  for (int in = 0;; ++in) {
    Broken device;
    auto opened = Device::open(device.fake, "");
    REQUIRE(opened);
    Budget own{8u << 20};
    Budget mirrors{8u << 20};
    device.fake.fail_making(in);
    const auto made = VerbsMover::make(**opened, small_limits(2), own, mirrors);
    device.fake.fail_making(-1);
    if (made) {
      CHECK(in == 7);  // all but queue pairs: those are tried again with less inline space
      break;
    }
    CHECK(made.error().number == ENOMEM);
    CHECK(own.left == 8u << 20);
    CHECK(mirrors.left == 8u << 20);
  }
}

TEST_CASE("a device gives as much inline space as it can") {
  for (const std::uint32_t most : {0u, 60u, 256u}) {
    Broken device;
    device.fake.max_inline = most;
    Joined pair{device.fake, small_limits()};
    pair.a.mover->publish(0, record(), true);
    REQUIRE(pair.a.mover->flush());
    REQUIRE(pair.b.receive());
    CHECK(pair.b.got.lanes[0].size() == 64);
  }
}

TEST_CASE("queues fit a small device, or there is no link") {
  Broken device;
  device.fake.max_cqe = 200;
  {
    Joined pair{device.fake, small_limits()};
    CHECK(pair.a.mover->room(0).calls > 100);
  }
  auto opened = Device::open(device.fake, "");
  REQUIRE(opened);
  Budget budget{8u << 20};
  CHECK(VerbsMover::make(**opened, small_limits(8), budget, budget).error().number == ENOSPC);
}

TEST_CASE("a slow network fills the send queue and no more") {
  Broken device;
  Joined pair{device.fake, small_limits()};
  const auto key = pair.b.mover->commit(0);
  REQUIRE(key);
  REQUIRE(pair.a.mover->adopt(kRing, *key));
  device.fake.hold = true;
  unsigned pushes = 0;
  for (; pair.a.mover->room(0).calls > 0; ++pushes) {
    pair.a.mover->push(0, {0, 4096});
    if (pushes % 7 == 0) {
      REQUIRE(pair.a.mover->flush());
    }
    REQUIRE(pushes < 1000);
  }
  REQUIRE(pair.a.mover->flush());
  CHECK(pushes > 100);
  CHECK(pair.a.mover->arm(true));  // nothing to do but wait
  device.fake.deliver();
  REQUIRE(pair.a.receive());
  CHECK(pair.a.mover->room(0).calls > 60);
  CHECK(device.fake.seen.signalled <= pushes / Lane::kSignalEvery + 1);
}

TEST_CASE("a mirror outlives the writes from it") {
  Broken device;
  Joined pair{device.fake, small_limits()};
  const std::size_t before = pair.mirrors.left;
  const auto key = pair.b.mover->commit(0);
  REQUIRE(key);
  REQUIRE(pair.a.mover->adopt(kRing, *key));
  device.fake.hold = true;
  pair.a.mover->push(0, kRing);
  REQUIRE(pair.a.mover->flush());
  pair.a.mover->drop(kRing);
  REQUIRE(pair.a.mover->flush());
  REQUIRE(pair.a.receive());
  CHECK(pair.mirrors.left == before - kSlab);
  device.fake.deliver();
  REQUIRE(pair.a.receive());
  CHECK(pair.mirrors.left == before);
  CHECK(pair.a.mover->state().starts_with("up"));
}

TEST_CASE("what must arrive has when the device says so, which it is asked for") {
  Broken device;
  Joined pair{device.fake, small_limits(2)};
  CHECK(pair.a.mover->arrived());
  device.fake.hold = true;
  pair.a.mover->publish(1, record(), true);
  pair.a.mover->must_arrive();
  REQUIRE(pair.a.mover->flush());
  CHECK(device.fake.seen.signalled == 0);
  CHECK_FALSE(pair.a.mover->arrived());
  CHECK_FALSE(pair.a.mover->arrived());  // asked once, however often that is looked at
  CHECK(device.fake.seen.signalled == 1);
  // What comes later need not.
  pair.a.mover->publish(1, record(), true);
  REQUIRE(pair.a.mover->flush());
  device.fake.deliver();
  REQUIRE(pair.a.receive());
  CHECK(pair.a.mover->arrived());
  REQUIRE(pair.b.receive());
  CHECK(pair.b.got.lanes[1].size() == 128);
  // A peer that is gone is not waited for.
  pair.a.mover->must_arrive();
  pair.a.mover->fail({ECONNRESET, "test"});
  CHECK(pair.a.mover->arrived());
}

TEST_CASE("what had arrived comes before the failure") {
  Broken device;
  Joined pair{device.fake, small_limits()};
  pair.a.mover->publish(0, record(), true);
  REQUIRE(pair.a.mover->flush());
  SUBCASE("the peer said that it ends") { pair.b.mover->fail({ECONNRESET, "test"}); }
  SUBCASE("a request of ours failed") {
    device.fake.fail_next = IBV_WC_RETRY_EXC_ERR;
    pair.b.mover->publish(0, record(), true);
    REQUIRE(pair.b.mover->flush());
  }
  SUBCASE("the queue pair broke") {
    for (const std::uint32_t number : device.fake.pairs()) device.fake.break_pair(number);
    pair.b.mover->fail({ECONNRESET, "verbs queue pair"});
  }
  CHECK_FALSE(pair.b.mover->receive(pair.b.got));
  CHECK(pair.b.got.lanes[0].size() == 64);
}

TEST_CASE("a peer that writes outside of what it was given ends its own link") {
  Broken device;
  Joined pair{device.fake, small_limits()};
  const auto key = pair.b.mover->commit(0);
  REQUIRE(key);
  // Another link of the same device: its keys open nothing here.
  Joined other{device.fake, small_limits()};
  const auto foreign = other.b.mover->commit(0);
  REQUIRE(foreign);
  REQUIRE(pair.a.mover->adopt(kRing, *foreign));
  pair.a.mover->push(0, {0, 64});
  REQUIRE(pair.a.mover->flush());
  CHECK(pair.a.receive().error().number == ECONNRESET);
  other.a.mover->publish(0, record(), true);
  REQUIRE(other.a.mover->flush());
  REQUIRE(other.b.receive());
  CHECK(other.b.got.calls == 1);
}

}  // namespace shunt::verbs
