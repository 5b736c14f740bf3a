// For threads that others wait for and that have little to do each time.
#pragma once

namespace shunt {

/// The calling thread asks the scheduler for short turns on the CPU: on a busy machine it then gets
/// one sooner after a wake-up, and no larger share. Needs no privilege; Linux 6.12, no effect on
/// older ones. Threads and processes made by it inherit it.
void ask_for_short_turns();

}  // namespace shunt
