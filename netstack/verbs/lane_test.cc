// The rules of the message ring against a peer that breaks them.
#include "netstack/verbs/lane.h"

#include <doctest/doctest.h>

#include <array>
#include <random>
#include <vector>

#include "netstack/verbs/fake.h"

namespace shunt::verbs {
namespace {

constexpr std::uint32_t kRing = 16384;

struct Fixture {
  std::vector<std::byte> own = std::vector<std::byte>(kRing);
  std::vector<std::byte> mirror = std::vector<std::byte>(kRing);
  Counters counters;
  ibv_qp pair{};
  Lane lane;

  static Lane::Rings rings(std::span<std::byte> own, std::span<std::byte> mirror) {
    Lane::Rings made;
    made.size = kRing;
    made.batch = kRing / 4;
    made.own = own;
    made.mirror = mirror;
    made.credits = 32;
    made.own_credits = 32;
    return made;
  }
  // Nothing is posted, so the pair need not be one of the device's.
  explicit Fixture(Calls& calls) : lane{calls, &pair, 64, 0, rings(own, mirror), counters} {}
};

std::uint32_t immediate(std::uint64_t bytes, std::uint64_t count) {
  return static_cast<std::uint32_t>(((bytes / 8) & 0xffff) << 16 | (count & 0xffff));
}

}  // namespace

TEST_CASE("a peer cannot have read what was not sent") {
  Fake device;
  const std::array<std::byte, 64> record{};
  {
    Fixture f{device};
    CHECK(f.lane.on_received(immediate(8, 0), 0).error().number == EPROTO);
  }
  {
    Fixture f{device};
    CHECK(f.lane.on_received(immediate(0, 1), 0).error().number == EPROTO);
  }
  Fixture f{device};
  f.lane.publish(record, true);
  CHECK(f.lane.on_received(immediate(64, 0), 0).error().number == EPROTO);  // not sent yet
  CHECK(f.lane.on_received(immediate(0, 0xffff), 0).error().number == EPROTO);
}

TEST_CASE("lengths that no publish has are refused") {
  Fake device;
  for (const std::uint32_t length : {1u, 7u, 12u, kRing, 0xfffffff8u}) {
    Fixture f{device};
    CHECK(f.lane.on_received(0, length).error().number == EPROTO);
  }
}

TEST_CASE("what would cross the end of the ring begins at its start") {
  Fake device;
  Fixture f{device};
  std::uint64_t at = 0;
  for (int i = 0; i < 100; ++i) {
    constexpr std::uint32_t kLength = 1800;
    const auto bytes = f.lane.on_received(0, kLength);
    REQUIRE(bytes);
    if (at % kRing + kLength > kRing) at += kRing - at % kRing;
    REQUIRE(bytes->data() == &f.own[at % kRing]);
    REQUIRE(bytes->size() == kLength);
    f.lane.on_consumed(kLength);
    at += kLength;
  }
}

TEST_CASE("room is what can be published, in whatever pieces, and never shrinks by more") {
  Fake device;
  std::mt19937 random{3};
  for (int round = 0; round < 300; ++round) {
    Fixture f{device};
    // Somewhere in the ring, with all of it confirmed.
    const std::uint32_t at = 8 * (random() % (kRing / 8));
    for (std::uint32_t left = at; left > 0;) {
      const std::uint32_t piece = std::min(left, kRing / 4);
      f.lane.publish(std::vector<std::byte>(piece), false);
      left -= piece;
    }
    f.lane.publish(std::vector<std::byte>(8), false);
    std::size_t room = f.lane.room_bytes();
    for (;;) {
      const std::size_t size = std::min<std::size_t>(8 * (1 + random() % 500), room);
      if (size == 0) break;
      f.lane.publish(std::vector<std::byte>(size), false);
      const std::size_t now = f.lane.room_bytes();
      REQUIRE(now + size >= room);
      room = now;
    }
  }
}

}  // namespace shunt::verbs
