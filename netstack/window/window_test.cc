#include <sys/wait.h>

#include <csignal>

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
