#include "shim/cgroup/attach_ahead.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <system_error>

#include "netstack/base/log.h"
#include "netstack/base/unique_fd.h"
#include "shim/cgroup/cgroup.h"
#include "shim/files.h"

namespace shunt {
namespace {

using namespace std::chrono_literals;

// Shorter than a grace period: the kernel forgets a move one such period after it.
constexpr auto kAgain = 4ms;
constexpr auto kLongest = 100ms;  // a runtime that is slower than that has other troubles

}  // namespace

AttachAhead::AttachAhead(std::function<std::string()> file) : file_{std::move(file)} {}

AttachAhead::~AttachAhead() {
  {
    const std::lock_guard guard{mutex_};
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::string AttachAhead::own_threads_file() {
  const auto own = Cgroup::of(::gettid());
  if (!own) return {};
  if (own->unified()) return own->folder("") + "/cgroup.threads";
  for (const std::string_view controller : {"freezer", "pids", "cpu", "memory"})
    if (const std::string folder = own->folder(controller); !folder.empty())
      return folder + "/tasks";
  return {};
}

void AttachAhead::add(int holds) {
  {
    const std::lock_guard guard{mutex_};
    holds_ += holds;
    if (holds > 0) ++begun_;
  }
  changed_.notify_all();
  if (thread_.joinable()) return;
  try {
    thread_ = std::thread{[this] { work(); }};
  } catch (const std::system_error& error) {  // then the runtime waits itself
    log::debug("shim", "no thread: {}", error.what());
  }
}

void AttachAhead::work() {
  const std::string self = std::to_string(::gettid()) + "\n";
  unsigned seen = 0;
  std::unique_lock lock{mutex_};
  for (;;) {
    changed_.wait(lock, [&] { return ending_ || (holds_ > 0 && begun_ != seen); });
    if (ending_) return;
    seen = begun_;
    lock.unlock();
    // Asked each time: if somebody has moved the shim, it must not be moved back.
    const std::string file = file_();
    const UniqueFd threads{file.empty() ? -1 : ::open(file.c_str(), O_WRONLY | O_CLOEXEC)};
    const auto until = std::chrono::steady_clock::now() + kLongest;
    lock.lock();
    while (threads.valid() && holds_ > 0 && !ending_ && std::chrono::steady_clock::now() < until) {
      lock.unlock();
      write_all(threads.get(), self);
      lock.lock();
      changed_.wait_for(lock, kAgain, [&] { return ending_ || holds_ == 0; });
    }
  }
}

}  // namespace shunt
