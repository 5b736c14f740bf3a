#include "sandbox/more_room.h"

#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "netstack/base/log.h"
#include "netstack/base/netns.h"
#include "netstack/base/start_thread.h"
#include "sandbox/holders.h"

namespace shunt::sandbox {
namespace {

using std::chrono::milliseconds;

// A program that is stuck waits one period at most, and the time between two looks.
constexpr milliseconds kPeriod{100};
constexpr milliseconds kBetweenLooks{30};
// How often somebody else is expected to have looked, who then has the next turn, too.
constexpr milliseconds kOthers{1000};
// After a failure that may be a passing one.
constexpr std::chrono::seconds kTryAgain{10};
// How long to rest, times the CPU time spent on looks: 0.2 %, and 1 % where somebody was helped, so
// that others may need it soon.
constexpr int kRest = 500;
constexpr int kRestAfterHelp = 100;
// The same for the time spent on searches: for the pod whose ends were searched for, and for all. A
// pod that is dear to search, by accident or on purpose, must not keep the others waiting for long.
constexpr int kRestOfPod = 100;
constexpr int kRestAfterSearch = 20;
// Some 100,000 descriptors; behind more an end is never found.
constexpr milliseconds kLongestSearch{500};
// An end that nobody has is searched for again after this time, then everywhere, then after twice
// that, and so on.
constexpr milliseconds kFirstPause{500};
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
    if (!thread_.joinable()) {
      if (auto thread = start_thread([this] { run(); })) {
        thread_ = std::move(*thread);
      } else {  // with the next connection perhaps
        needed_ = false;
        log::debug("sandbox", "{}", describe(thread.error()));
      }
    }
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
  const UniqueFd probe{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  const auto cookie = socket_netns_cookie(probe.get());
  if (entered && diag && turns && cookie) {
    private_cookie_ = *cookie;
    diag_.emplace(std::move(*diag));
    turns_.emplace(std::move(*turns));
    return true;
  }
  log::warn("sandbox", "small writes that nobody reads fill connections soon: {}",
            describe(!entered ? entered.error()
                     : !diag  ? diag.error()
                     : !turns ? turns.error()
                              : cookie.error()));
  return false;
}

void MoreRoom::run() {
  while (!prepare())
    if (!pause(Clock::now() + kTryAgain)) return;
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
  const std::vector<local::StuckEnd> stuck = due(look());
  const auto looked = own_cpu_time() - before;
  bool helped = false;
  if (!stuck.empty()) {
    turns_->set(Clock::now() + 2 * kLongestSearch);
    helped = help(stuck);
  }
  const auto searched = own_cpu_time() - before - looked;
  const auto rest = std::max<Clock::duration>(
      {kPeriod, (helped ? kRestAfterHelp : kRest) * looked, kRestAfterSearch * searched});
  const auto next = Clock::now() + std::min<Clock::duration>(rest, kLongestRest);
  turns_->set(next);
  return next;
}

std::vector<local::StuckEnd> MoreRoom::look() {
  needed_ = false;  // unless there is a connection, or another one is made meanwhile
  const auto first = local::look_for_crowded(*diag_);
  if (!first || first->any) needed_ = true;
  if (!first || first->crowded.empty() || !pause(Clock::now() + kBetweenLooks)) return {};
  const auto second = local::look_for_crowded(*diag_);
  if (!second) return {};
  return local::find_stuck(*first, *second, most_);
}

std::vector<local::StuckEnd> MoreRoom::due(std::vector<local::StuckEnd> stuck) {
  const auto now = Clock::now();
  std::erase_if(resting_, [now](const auto& entry) { return entry.second <= now; });
  std::unordered_map<std::uint32_t, Lost> lost;  // what is not stuck any more is not lost
  for (const local::StuckEnd& end : stuck)
    if (const auto known = lost_.find(end.inode); known != lost_.end()) lost.insert(*known);
  lost_.swap(lost);
  std::erase_if(stuck, [&](const local::StuckEnd& end) {
    const auto known = lost_.find(end.inode);
    return resting_.contains(end.netns) || (known != lost_.end() && known->second.until > now);
  });
  return stuck;
}

bool MoreRoom::help(const std::vector<local::StuckEnd>& stuck) {
  const auto begun = own_cpu_time();
  const auto enough = begun + kLongestSearch;
  std::unordered_map<std::uint32_t, std::size_t> sizes;
  std::map<std::uint64_t, Holders::Inodes> wanted;  // by pod
  for (const local::StuckEnd& end : stuck) {
    sizes.emplace(end.inode, end.send_buffer);
    wanted[end.netns].insert(end.inode);
  }
  const Holders::Found found = [&](std::uint32_t inode, int socket) {
    const auto cookie = socket_netns_cookie(socket);
    if (!cookie || *cookie != private_cookie_) return false;
    // The kernel wakes the writer (sk_write_space): it is enough for poll(2) to say so.
    const int size = static_cast<int>(sizes.at(inode));
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    log::debug("sandbox", "socket {}: nothing moves, send buffer of {} bytes", inode, size);
    return true;
  };

  Holders holders;
  std::vector<std::pair<std::int64_t, std::uint64_t>> pods;  // what is cheap comes first
  for (const auto& [netns, inodes] : wanted)
    pods.emplace_back(holders.descriptors_in(netns), netns);
  std::sort(pods.begin(), pods.end());
  const auto listed = own_cpu_time() - begun;
  std::map<std::uint64_t, std::chrono::nanoseconds> costs;
  Holders::Inodes missing;
  Holders::Inodes elsewhere;        // those missed before: programs end, and take their ends along
  std::set<std::uint64_t> without;  // pods they are of
  for (const auto& [descriptors, netns] : pods) {
    const auto before = own_cpu_time();
    Holders::Inodes& inodes = wanted.at(netns);
    holders.find(netns, inodes, enough, found);
    costs[netns] = listed + own_cpu_time() - before;
    for (const std::uint32_t inode : inodes) {
      missing.insert(inode);
      if (!lost_.contains(inode)) continue;
      without.insert(netns);
      elsewhere.insert(inode);
    }
  }
  if (!elsewhere.empty()) {
    const auto before = own_cpu_time();
    Holders::Inodes left = elsewhere;
    holders.find_elsewhere(without, left, enough, found);
    for (const std::uint32_t inode : elsewhere)
      if (!left.contains(inode)) missing.erase(inode);
    for (const std::uint64_t netns : without) costs[netns] += own_cpu_time() - before;
  }

  const auto now = Clock::now();
  for (const auto& [netns, cost] : costs)
    resting_[netns] = now + std::min<Clock::duration>(kRestOfPod * cost, kLongestRest);
  for (const std::uint32_t inode : missing) {
    Lost& lost = lost_[inode];
    lost.pause = std::clamp<Clock::duration>(2 * lost.pause, kFirstPause, kLongestRest);
    lost.until = now + lost.pause;
  }
  return missing.size() < stuck.size();
}

}  // namespace shunt::sandbox
