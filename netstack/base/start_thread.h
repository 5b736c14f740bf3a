// Threads where having none is bearable. std::thread throws if the system has no room for another
// one (pid_max, threads-max, a pids cgroup: another program's fork bomb is enough), and nobody here
// catches.
#pragma once

#include <system_error>
#include <thread>
#include <utility>

#include "netstack/base/result.h"

namespace shunt {

/// EAGAIN if there is no room.
template <typename Function>
Result<std::thread> start_thread(Function&& function) {
  try {
    return std::thread{std::forward<Function>(function)};
  } catch (const std::system_error& error) {
    return Error{error.code().value(), "start a thread"};
  }
}

}  // namespace shunt
