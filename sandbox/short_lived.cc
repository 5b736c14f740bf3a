#include "sandbox/short_lived.h"

#include <algorithm>
#include <utility>

namespace shunt::sandbox {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kSeldom{100};     // from one call to the next: another story
constexpr int kShare = 3;                // of the time is ours: more than one part in so many
constexpr std::uint32_t kFewCalls = 64;  // are judged at once while left to the kernel
constexpr int kSlowWindows = 3;          // of these in a row: a machine has its moments
constexpr seconds kLongestPause{60};
constexpr seconds kLately{1};
constexpr seconds kForVain{60};
constexpr milliseconds kTellAgain{500};
constexpr seconds kProof{60};  // after the last call
constexpr int kMostWatched = 4;

}  // namespace

void ShortLived::Entry::start_window() {
  calls = upgrades = 0;
  between = handling = {};
  samples.fill({});
}

void ShortLived::Entry::upgrade_again() {
  left = false;
  slow = watched = 0;
  start_window();
}

ShortLived::Entry* ShortLived::find(pid_t thread, const Endpoint& target) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.thread == thread && entry.target == target;
  });
  return found == entries_.end() ? nullptr : &*found;
}

ShortLived::Entry& ShortLived::enter(pid_t thread, const Endpoint& target, Clock::time_point now) {
  if (Entry* entry = find(thread, target)) return *entry;
  if (entries_.size() < kMost) {
    entries_.emplace_back();
  } else {
    // The one that called longest ago makes room.
    const auto oldest =
        std::min_element(entries_.begin(), entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.last < b.last; });
    *oldest = {};
    std::swap(*oldest, entries_.back());
  }
  Entry& entry = entries_.back();
  entry.thread = thread;
  entry.target = target;
  entry.window = is_proved(target, now) ? kShortWindow : kWindow;
  entry.last = now;
  return entry;
}

void ShortLived::in_vain(pid_t thread, const Endpoint& target, Clock::time_point now) {
  const std::lock_guard guard{mutex_};
  enter(thread, target, now).in_vain = now;
}

void ShortLived::note(const Upgraded& done) {
  const std::lock_guard guard{mutex_};
  Entry& entry = enter(done.thread, done.target, done.trapped);
  if (entry.left) return;  // begun meanwhile, for a call that was repeated
  entry.server = done.server;
  entry.upgraded = done.answered;
  if (entry.upgrades >= entry.window) return;
  if (entry.watched == 0 && entry.upgrades < kSamples) entry.samples[entry.upgrades] = done.fast;
  ++entry.upgrades;
  entry.handling += done.answered - done.trapped;
}

bool ShortLived::is_proved(const Endpoint& target, Clock::time_point now) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.proved && entry.target == target && now - entry.last < kProof;
  });
}

void ShortLived::disprove(const Endpoint& target) {
  for (Entry& entry : entries_)
    if (entry.target == target) entry.proved = false;
}

// At the end of a window; the next one begins. Sockets that are open still may only be some of
// many that are open for a short time each.
bool ShortLived::qualifies(Entry& entry, Clock::time_point now, const IsOpen& is_open) {
  constexpr std::ptrdiff_t kFew = 1;
  const bool dear = entry.handling * kShare > entry.between && now >= entry.not_before;
  const bool gone =
      dear && std::count_if(entry.samples.begin(), entry.samples.end(), is_open) <= kFew;
  const bool watch = dear && !gone && entry.watched + 1 < kMostWatched;
  const auto samples = entry.samples;
  entry.usual = entry.between / entry.calls;
  entry.window = kWindow;
  entry.start_window();
  if (!gone) entry.watched = watch ? entry.watched + 1 : 0;
  if (watch) entry.samples = samples;
  return gone;
}

bool ShortLived::others_offer(const Entry& entry, Clock::time_point now) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& other) {
    if (&other == &entry || other.left || other.target != entry.target) return false;
    if (now - other.qualified < kLately) return false;  // of our kind
    return now - other.in_vain < kForVain || now - other.upgraded < kLately;
  });
}

// Of what is left to the kernel: whether it helps, and whether the connections are short still.
bool ShortLived::goes_on(Entry& entry, Clock::time_point now, const Socket& socket,
                         const IsOpen& is_open) {
  if (entry.calls < kFewCalls) return true;
  const Socket sample = entry.samples[0];
  const bool open = is_open(sample);
  entry.watched = open ? entry.watched + 1 : 0;
  const bool kept = entry.watched >= entry.patience;
  const bool slower = entry.between > entry.usual * entry.calls;
  entry.slow = slower ? entry.slow + 1 : 0;
  if (!slower) entry.pause = kFirstPause;
  entry.start_window();
  entry.samples[0] = open ? sample : socket;
  if (entry.slow < kSlowWindows) return !kept;
  entry.not_before = now + entry.pause;
  entry.pause = std::min<Clock::duration>(entry.pause * 2, kLongestPause);
  return false;
}

ShortLived::Found ShortLived::look_up(pid_t thread, const Endpoint& target) {
  Found found;
  for (Entry& each : entries_) {
    if (each.thread != thread) continue;
    if (each.target == target) found.entry = &each;
    if (found.before == nullptr || each.last > found.before->last) found.before = &each;
  }
  return found;
}

bool ShortLived::leaves(pid_t thread, const Endpoint& target, Clock::time_point trapped,
                        int number) {
  const std::lock_guard guard{mutex_};
  const auto [entry, before] = look_up(thread, target);
  if (entry == nullptr || !entry->left || number < 0 ||
      static_cast<std::size_t>(number) >= kNumbers ||
      !entry->plain[static_cast<std::size_t>(number)] || entry->plain_since != changes_.load() ||
      trapped - entry->last > kSeldom || entry->calls + 1 >= kFewCalls ||
      (entry->server.far && trapped - entry->told >= kTellAgain))
    return false;
  before->between += trapped - before->last;
  entry->last = trapped;
  ++entry->calls;
  return true;
}

ShortLived::Ruling ShortLived::leave(Entry& entry, const Socket& socket,
                                     std::optional<Server> tell) const {
  const std::uint64_t changes = changes_.load();
  if (entry.plain_since != changes) entry.plain.reset();
  entry.plain_since = changes;
  if (socket.number >= 0 && static_cast<std::size_t>(socket.number) < kNumbers)
    entry.plain.set(static_cast<std::size_t>(socket.number));
  return {true, std::move(tell)};
}

ShortLived::Ruling ShortLived::judge(pid_t thread, const Endpoint& target,
                                     Clock::time_point trapped, const Socket& socket,
                                     const IsOpen& is_open) {
  const std::lock_guard guard{mutex_};
  if (entries_.empty()) return {};
  const Found found = look_up(thread, target);
  Entry* const entry = found.entry;
  Entry* const before = found.before;
  if (before != nullptr) before->between += trapped - before->last;
  const auto upgrade = [&]() -> Ruling {
    // It must not find a server that was told of no offers.
    for (Entry& other : entries_)
      if (&other != entry && other.left && other.server.far && other.target == target &&
          (entry == nullptr || trapped - entry->qualified >= kLately))
        other.upgrade_again();
    return {};
  };
  if (entry == nullptr) return upgrade();
  const bool seldom = trapped - entry->last > kSeldom;
  if (seldom) entry->window = is_proved(target, trapped) ? kShortWindow : kWindow;
  entry->last = trapped;
  if (seldom) {
    entry->upgrade_again();
  } else {
    ++entry->calls;
  }
  if (entry->left) {
    if (!goes_on(*entry, trapped, socket, is_open)) {
      disprove(target);
      entry->window = kWindow;
      entry->upgrade_again();
      return upgrade();
    }
    if (!entry->server.far || trapped - entry->told < kTellAgain) return leave(*entry, socket, {});
  } else {
    if (entry->upgrades < entry->window) return upgrade();
    if (!qualifies(*entry, trapped, is_open)) {
      disprove(target);
      return upgrade();
    }
    entry->qualified = trapped;
    const bool others = others_offer(*entry, trapped);
    if (others && entry->server.far) return upgrade();
    entry->left = entry->proved = true;
    entry->patience = std::exchange(entry->watched, 0) + 1;
    entry->in_vain = {};
    entry->samples[0] = socket;
    if (others) return leave(*entry, socket, {});
  }
  entry->told = trapped;
  return leave(*entry, socket, entry->server);
}

}  // namespace shunt::sandbox
