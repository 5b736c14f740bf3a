// Which end of an accepted connection the program gets. Any thread; everything asked here can be
// read from kernel objects at any time, so a connection may be judged again and again.
#pragma once

#include "sandbox/listeners.h"

namespace shunt::sandbox {

enum class Verdict {
  kTcp,
  kFast,
  kWait,  ///< the client's supervisor has not decided, or its decision has not arrived
};

/// Takes what the mailbox has for `arrival`. `network` is null only for listeners that are not
/// published.
Verdict judge(PodNetwork* network, const Listener& listener, Arrival& arrival);

}  // namespace shunt::sandbox
