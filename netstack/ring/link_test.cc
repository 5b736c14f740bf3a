// The contract suite over the ring protocol with a mover of this process: once kind, and with every
// fault that mover.h allows.
#include "netstack/ring/link.h"

#include "netstack/fabric/contract.h"
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

}  // namespace

SHUNT_FABRIC_CONTRACT("ring", make_kind)
SHUNT_FABRIC_CONTRACT("ring, unkind mover", make_unkind)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("ring", make_kind)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("ring, unkind mover", make_unkind)
