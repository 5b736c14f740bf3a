// Links over movers with random faults, for many seeds: streams are opened, written, read, half
// closed, closed and reset at random, and every byte is checked. A failure prints its seed.
//
//   SHUNT_SIM_SEEDS=1000 ring_hostile_test -tc="random*"     for longer
#include <cstdlib>
#include <random>

#include "netstack/fabric/contract.h"
#include "netstack/fabric/contract_app.h"
#include "netstack/ring/link.h"
#include "netstack/ring/memory_mover.h"

using namespace shunt;
using namespace shunt::ring;
using namespace shunt::fabric::contract;

namespace {

struct World {
  explicit World(std::uint32_t seed) : random{seed} {
    const auto pick = [&](auto... values) {
      const std::array all{static_cast<std::size_t>(values)...};
      return all[random() % all.size()];
    };
    faults.seed = seed;
    faults.late = static_cast<unsigned>(pick(0, 20, 70));
    faults.lost_bells = static_cast<unsigned>(pick(0, 0, 0, 5));
    faults.double_bells = static_cast<unsigned>(pick(0, 30));
    faults.records = pick(4200, 5000, 8192, 65536);
    faults.calls = pick(4, 5, 17, 1000);
    faults.lanes = static_cast<unsigned>(pick(1, 2, 4));
    faults.region = static_cast<std::uint32_t>(pick(1u << 20, 4u << 20, 64u << 20));
    faults.small = static_cast<std::uint32_t>(pick(1, 64, 256, 2048));
    faults.mirrors = static_cast<std::size_t>(pick(1, 2, 1000, 1000));
    options.largest_ring = static_cast<std::uint32_t>(pick(16u << 10, 64u << 10, 1u << 20));
    // Small ones are released and committed again all the time.
    faults.slab =
        std::max(options.largest_ring, static_cast<std::uint32_t>(pick(64 << 10, 1 << 20)));
  }
  std::mt19937 random;
  MemoryFaults faults;
  Options options;
};

/// Steps taken (one application's call, or one turn of the loop).
std::uint64_t simulate(std::uint32_t seed) {
  CAPTURE(seed);
  World world{seed};
  MemoryMover* movers[2] = {};
  Bench bench{[&](EventLoop& loop, MoveFunction<void(Error)> first,
                  MoveFunction<void(Error)> second) -> Pair {
    auto [one, other] = MemoryMover::pair(world.faults);
    movers[0] = one.get();
    movers[1] = other.get();
    return {nullptr,
            make_link(loop, fabric::Kind::kMemory, std::move(one), "b", std::move(first),
                      world.options),
            make_link(loop, fabric::Kind::kMemory, std::move(other), "a", std::move(second),
                      world.options)};
  }};
  bench.send_buffer = 256 << 10;
  std::mt19937& random = world.random;
  const auto size = [&]() -> std::size_t {
    const std::size_t bits = random() % 18;
    return 1 + random() % (std::size_t{1} << bits);
  };
  std::vector<Connection> streams;
  fabric::StreamId next = 1;
  std::uint64_t steps = 0;
  for (int step = 0; step < 4000; ++step, ++steps) {
    if (streams.size() < 12 && random() % 50 == 0) {
      auto half = bench.open(*bench.pair.dialled, next);
      if (half) {
        auto other = bench.accept(*bench.pair.listened, next, half->message);
        if (other && bench.pair.dialled->complete(next, other->message))
          streams.push_back({App{std::move(half->application), next, next + 1},
                             App{std::move(other->application), next + 1, next}});
        else
          bench.pair.dialled->abandon(next);
      }
      next += 2;
    }
    if (random() % 3 == 0) bench.loop.run_once(0);
    if (streams.empty()) continue;
    const std::size_t which = random() % streams.size();
    Connection& stream = streams[which];
    App& app = random() % 2 == 0 ? stream.client : stream.server;
    switch (random() % 40) {
      case 0:
        app.shut_write();
        break;
      case 1:
        if (random() % 4 == 0) app.close();
        break;
      case 2:
        if (random() % 8 == 0) {
          CHECK_FALSE((stream.client.wrong || stream.server.wrong));
          streams.erase(streams.begin() + static_cast<std::ptrdiff_t>(which));
        }
        break;
      default:
        if (app.fd() < 0) break;
        if (random() % 2 == 0)
          app.write(size());
        else
          app.read(size());
    }
  }
  // Whoever is left reads until everything has come, unless the other one is gone.
  for (auto& stream : streams) {
    const bool whole = stream.client.fd() >= 0 && stream.server.fd() >= 0;
    CHECK(bench.until([&] {
      ++steps;
      for (App* app : {&stream.client, &stream.server})
        if (app->fd() >= 0)
          while (app->read(65536) > 0) ++steps;
      return !whole || (stream.client.got == stream.server.written &&
                        stream.server.got == stream.client.written);
    }));
    CHECK_FALSE((stream.client.wrong || stream.server.wrong));
    if (whole) CHECK((stream.client.read_error == 0 && stream.server.read_error == 0));
  }
  streams.clear();
  CHECK(bench.until([&] {
    return bench.pair.dialled->view().streams.empty() &&
           bench.pair.listened->view().streams.empty();
  }));
  for (const auto* link : {bench.pair.dialled.get(), bench.pair.listened.get()})
    for (const auto& counter : link->view().counters) {
      const std::string& name = counter.first;  // clang 14 captures no structured bindings
      CAPTURE(name);
      if (name == "ring memory held" || name == "broken rules" ||
          name == "streams reset for what the peer said")
        CHECK(counter.second == 0);
    }
  CHECK(bench.dialled_failed == 0);
  CHECK(bench.listened_failed == 0);
  return steps;
}

}  // namespace

TEST_CASE("random streams over random faults lose nothing") {
  const char* wanted = std::getenv("SHUNT_SIM_SEEDS");
  const int seeds = wanted == nullptr ? 30 : std::atoi(wanted);
  std::uint64_t steps = 0;
  for (int seed = 1; seed <= seeds; ++seed) steps += simulate(static_cast<std::uint32_t>(seed));
  MESSAGE(seeds << " seeds, " << steps << " steps");
}
