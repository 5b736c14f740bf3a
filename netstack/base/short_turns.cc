#include "netstack/base/short_turns.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace shunt {
namespace {

// sched_setattr(2); glibc 2.36 has no declaration, and <linux/sched/types.h> clashes with
// <sched.h>.
struct Attributes {
  std::uint32_t size = sizeof(Attributes);
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0;  // of a normal thread: the length of a turn in ns, 0.1 to 100 ms
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
};

constexpr std::uint64_t kTurn = 200'000;
constexpr std::uint32_t kNormal = 0;  // SCHED_OTHER

}  // namespace

void ask_for_short_turns() {
  Attributes now;
  if (::syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) != 0 || now.policy != kNormal) return;
  now.size = sizeof now;
  now.flags = 0;
  now.runtime = kTurn;
  ::syscall(SYS_sched_setattr, 0, &now, 0);  // refused: turns stay as they are
}

}  // namespace shunt
