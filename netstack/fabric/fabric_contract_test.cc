#include "netstack/fabric/contract.h"
#include "netstack/fabric/memory.h"

namespace {
shunt::fabric::contract::Pair make_memory(shunt::EventLoop& loop,
                                          shunt::MoveFunction<void(shunt::Error)> first,
                                          shunt::MoveFunction<void(shunt::Error)> second) {
  auto [dialled, listened] = shunt::fabric::memory_pair(loop, std::move(first), std::move(second));
  return {nullptr, std::move(dialled), std::move(listened)};
}
}  // namespace

SHUNT_FABRIC_CONTRACT("memory", make_memory)
