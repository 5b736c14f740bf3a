// The contract suite over the ring protocol with a mover of this process: once kind, and with every
// fault that mover.h allows.
#include "netstack/ring/link.h"

#include <algorithm>
#include <thread>

#include "netstack/fabric/contract.h"
#include "netstack/fabric/contract_app.h"
#include "netstack/ring/memory_mover.h"

using namespace shunt;
using namespace shunt::ring;

namespace {

/// Looks into the movers when the links are gone: nothing forbidden was done.
fabric::contract::Pair make_pair(EventLoop& loop, MoveFunction<void(Error)> first,
                                 MoveFunction<void(Error)> second, const MemoryFaults& faults) {
  auto [dialled, listened] = MemoryMover::pair(faults);
  auto one =
      make_link(loop, fabric::Kind::kMemory, std::move(dialled), "listener", std::move(first));
  auto other =
      make_link(loop, fabric::Kind::kMemory, std::move(listened), "dialler", std::move(second));
  return {nullptr, std::move(one), std::move(other)};
}

fabric::contract::Pair make_kind(EventLoop& loop, MoveFunction<void(Error)> first,
                                 MoveFunction<void(Error)> second) {
  return make_pair(loop, std::move(first), std::move(second), {});
}

fabric::contract::Pair make_unkind(EventLoop& loop, MoveFunction<void(Error)> first,
                                   MoveFunction<void(Error)> second) {
  return make_pair(loop, std::move(first), std::move(second),
                   {.seed = 3,
                    .late = 40,
                    .double_bells = 20,
                    .records = 8192,
                    .calls = 5,
                    .lanes = 3,
                    .slab = 1u << 20});
}

std::uint64_t counter(const fabric::Link& link, std::string_view name) {
  const auto counters = link.view().counters;
  const auto found = std::find_if(counters.begin(), counters.end(),
                                  [name](const auto& entry) { return entry.first == name; });
  REQUIRE(found != counters.end());
  return found->second;
}

}  // namespace

TEST_CASE("ring: streams that wait for their turn are not idle, however slow the machine is") {
  fabric::contract::Bench bench{make_kind};
  std::vector<fabric::contract::Connection> streams;
  for (fabric::StreamId i = 0; i < 128; ++i) streams.push_back(bench.connect(2 * i + 1));
  // Each is served in every fourth turn of the link: after more time than an idle ring is kept.
  const auto slow_turns = [&](int count) {
    REQUIRE(bench.until([&] {
      for (auto& stream : streams) {
        while (stream.client.write(65536) > 0) {
        }
        while (stream.server.read(65536) > 0) {
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{60});
      return --count == 0;
    }));
  };
  slow_turns(12);  // until they have rings
  const fabric::Link& link = *bench.pair.dialled;
  const auto by_ring = counter(link, "bytes sent through rings");
  const auto by_record = counter(link, "bytes sent inside records");
  slow_turns(12);
  const auto more_by_ring = counter(link, "bytes sent through rings") - by_ring;
  const auto more_by_record = counter(link, "bytes sent inside records") - by_record;
  MESSAGE("bytes through rings " << more_by_ring << ", inside records " << more_by_record);
  CHECK(more_by_record < more_by_ring / 100);
}

SHUNT_FABRIC_CONTRACT("ring", make_kind)
SHUNT_FABRIC_CONTRACT("ring, unkind mover", make_unkind)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("ring", make_kind)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("ring, unkind mover", make_unkind)
