#include "sandbox/answer_threads.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

namespace shunt::sandbox {
namespace {

// A pod of two containers never has more; the others are bounded since each costs some pages.
constexpr std::size_t kForGood = 2;
constexpr std::size_t kMost = 6;
constexpr int kSilentLooks = 5;

// So many calls within that time: then the loop's wait, a fifth of the time of a call that is left
// to the kernel, is worth a thread.
constexpr int kMany = 64;
constexpr std::chrono::seconds kLately{1};

}  // namespace

bool AnswerThreads::start_for_good(const std::shared_ptr<Container>& container) {
  return start(container, false);
}

bool AnswerThreads::start_for_now(const std::shared_ptr<Container>& container) {
  return start(container, true);
}

bool AnswerThreads::start(const std::shared_ptr<Container>& container, bool for_now) {
  const std::lock_guard guard{mutex_};
  reap();
  if (ending_ || entries_.size() >= (for_now ? kMost : kForGood)) return false;
  Entry& entry = entries_.emplace_back();
  entry.for_now = for_now;
  try {
    entry.thread = std::thread{[this, &entry, container] {
      const bool in_use = serve_(container, entry.order);
      if (in_use && entry.for_now) go_back_(container);
      entry.ended = true;
    }};
  } catch (const std::system_error&) {  // as many threads as there may be
    entries_.pop_back();
    return false;
  }
  return true;
}

void AnswerThreads::reap() {
  std::erase_if(entries_, [](Entry& entry) {
    if (!entry.ended.load()) return false;
    entry.thread.join();
    return true;
  });
}

void AnswerThreads::look_after() {
  const std::lock_guard guard{mutex_};
  reap();
  for (Entry& entry : entries_) {
    if (!entry.for_now) continue;
    const auto before = std::exchange(entry.calls, entry.order.calls.load());
    entry.silent = entry.calls == before ? entry.silent + 1 : 0;
    if (entry.silent < kSilentLooks) continue;
    entry.order.stop = true;
    // A signal just before the wait is lost: there will be another look. One in the midst of a call
    // would look like the end of that call's patience.
    if (entry.order.waits.load()) ::pthread_kill(entry.thread.native_handle(), signal_);
  }
}

void AnswerThreads::end() {
  std::list<Entry> entries;
  {
    const std::lock_guard guard{mutex_};
    ending_ = true;
    entries.swap(entries_);  // the entries themselves stay where they are
  }
  for (Entry& entry : entries) {
    entry.order.stop = true;
    while (!entry.ended.load()) {
      ::pthread_kill(entry.thread.native_handle(), signal_);
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    entry.thread.join();
  }
}

bool CallsOften::operator()(Clock::time_point now) {
  if (calls_++ == 0) first_ = now;
  if (calls_ < kMany) return false;
  calls_ = 0;
  return now - first_ <= kLately;
}

}  // namespace shunt::sandbox
