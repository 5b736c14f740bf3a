#include "sandbox/more_room.h"

#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <unordered_map>

#include "netstack/base/log.h"
#include "netstack/local/crowded_ends.h"
#include "sandbox/holders.h"

namespace shunt::sandbox {
namespace {

using std::chrono::milliseconds;

// A program that is stuck waits one period at most, and the time between two looks.
constexpr milliseconds kPeriod{100};
constexpr milliseconds kBetweenLooks{30};
// How often somebody else is expected to have looked, who then has the next turn, too.
constexpr milliseconds kOthers{1000};
// Times the CPU time spent: 0.2 %, and 1 % where somebody was stuck, so that others may be soon.
constexpr int kRest = 500;
constexpr int kRestAfterHelp = 100;
// Some 300,000 descriptors of the pods whose ends are stuck; behind more an end is never found.
constexpr milliseconds kLongestSearch{500};
constexpr std::chrono::minutes kLongestRest{10};

}  // namespace

MoreRoom::MoreRoom(std::string state_directory, int private_netns, std::size_t most)
    : state_directory_{std::move(state_directory)}, private_netns_{private_netns}, most_{most} {}

MoreRoom::~MoreRoom() {
  {
    const std::lock_guard guard{mutex_};
    stop_ = true;
  }
  woken_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void MoreRoom::handed_out() {
  if (needed_.load(std::memory_order_relaxed) || needed_.exchange(true)) return;
  {
    const std::lock_guard guard{mutex_};
    if (!thread_.joinable()) thread_ = std::thread{[this] { run(); }};
  }
  woken_.notify_all();
}

bool MoreRoom::prepare() {
  sigset_t all{};
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  Status entered = Done{};
  if (::setns(private_netns_, CLONE_NEWNET) < 0) entered = last_error("setns");
  auto diag = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  auto turns = local::TakingTurns::open(state_directory_ + "/looks");
  if (entered && diag && turns) {
    diag_.emplace(std::move(*diag));
    turns_.emplace(std::move(*turns));
    return true;
  }
  log::warn("sandbox", "small writes that nobody reads fill connections soon: {}",
            describe(!entered ? entered.error()
                     : !diag  ? diag.error()
                              : turns.error()));
  return false;
}

void MoreRoom::run() {
  if (!prepare()) return;
  Clock::time_point next = Clock::now() + kPeriod;
  while (pause(next)) {
    if (needed_.load()) {
      next = turn();
      continue;
    }
    std::unique_lock lock{mutex_};
    woken_.wait(lock, [this] { return stop_ || needed_.load(); });
    next = Clock::now() + kPeriod;
  }
}

bool MoreRoom::pause(Clock::time_point until) {
  std::unique_lock lock{mutex_};
  return !woken_.wait_until(lock, until, [this] { return stop_; });
}

MoreRoom::Clock::time_point MoreRoom::turn() {
  const auto now = Clock::now();
  if (!turns_->take(now, now + kPeriod, kLongestRest)) return now + kOthers;
  const auto before = own_cpu_time();
  const int rests = look() ? kRestAfterHelp : kRest;
  const auto rest = std::max<Clock::duration>(kPeriod, rests * (own_cpu_time() - before));
  const auto next = Clock::now() + std::min<Clock::duration>(rest, kLongestRest);
  turns_->set(next);
  return next;
}

bool MoreRoom::look() {
  needed_ = false;  // unless there is a connection, or another one is made meanwhile
  const auto first = local::look_for_crowded(*diag_);
  if (!first || first->any) needed_ = true;
  if (!first || first->crowded.empty() || !pause(Clock::now() + kBetweenLooks)) return false;
  const auto second = local::look_for_crowded(*diag_);
  if (!second) return false;
  std::unordered_map<std::uint32_t, std::size_t> sizes;
  std::unordered_set<std::uint32_t> inodes;
  std::set<std::uint64_t> owners;
  for (const local::StuckEnd& end : local::find_stuck(*first, *second, most_)) {
    sizes.emplace(end.inode, end.send_buffer);
    inodes.insert(end.inode);
    owners.insert(end.netns);
  }
  if (inodes.empty()) return false;
  for_each_held(std::move(inodes), owners, kLongestSearch, [&](std::uint32_t inode, int socket) {
    // The kernel wakes the writer (sk_write_space): it is enough for poll(2) to say so.
    const int size = static_cast<int>(sizes.at(inode));
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    log::debug("sandbox", "socket {}: nothing moves, send buffer of {} bytes", inode, size);
  });
  return true;
}

}  // namespace shunt::sandbox
