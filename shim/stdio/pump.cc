#include "shim/stdio/pump.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace shunt {
namespace {
constexpr std::size_t kChunk = 64U << 10;  // the size of a pipe
constexpr int kTurns = 16;                 // chunks before other descriptors get their turn
constexpr std::chrono::seconds kToBeRead{1};

/// Something is in this fifo, and with our end it may be lost.
bool holds_something(const UniqueFd& fifo) {
  struct stat status {};
  int unread = 0;
  return ::fstat(fifo.get(), &status) == 0 && S_ISFIFO(status.st_mode) &&
         (::fcntl(fifo.get(), F_GETFL) & O_ACCMODE) == O_RDWR &&
         ::ioctl(fifo.get(), FIONREAD, &unread) == 0 && unread > 0;
}
}  // namespace

Pump::Pump(EventLoop& loop, UniqueFd from, std::shared_ptr<UniqueFd> to, std::function<void()> done)
    : loop_{loop}, from_{std::move(from)}, to_{std::move(to)}, done_{std::move(done)} {
  wait_for(true);
}

Pump::~Pump() { loop_.forget(watch_); }

void Pump::wait_for(bool source) {
  if (watch_ != 0 && source == watching_source_) return;
  loop_.forget(watch_);
  watching_source_ = source;
  const auto token = source ? loop_.watch(from_.get(), EPOLLIN, [this](std::uint32_t) { turn(); })
                            : loop_.watch(to_->get(), EPOLLOUT, [this](std::uint32_t) { turn(); });
  // A regular file cannot be watched and never blocks; two watches of one fifo (a shared sink)
  // cannot either: both try again a little later.
  watch_ = token ? *token : loop_.after(std::chrono::milliseconds{5}, [this] {
    watch_ = 0;
    turn();
  });
}

void Pump::turn() {
  for (int left = kTurns; left > 0; --left) {
    switch (move()) {
      case Step::kMoved:
        break;
      case Step::kSourceEmpty:
        return wait_for(true);
      case Step::kSinkFull:
        return wait_for(false);
      case Step::kEnd:
        return finish();
    }
  }
  wait_for(true);
}

Pump::Step Pump::move() {
  if (copying_) return move_copying();
  const ssize_t n = ::splice(from_.get(), nullptr, to_->get(), nullptr, kChunk,
                             SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (n > 0) return Step::kMoved;
  if (n == 0) return Step::kEnd;
  if (errno == EINTR) return Step::kMoved;
  if (errno == EAGAIN) {
    // EAGAIN does not say which side: look at the source.
    pollfd source{from_.get(), POLLIN, 0};
    return ::poll(&source, 1, 0) > 0 && (source.revents & (POLLIN | POLLHUP)) != 0
               ? Step::kSinkFull
               : Step::kSourceEmpty;
  }
  if (errno == EINVAL) {  // an append-only file, a terminal
    copying_ = true;
    return Step::kMoved;
  }
  return Step::kEnd;
}

Pump::Step Pump::move_copying() {
  if (held_.empty()) {
    std::array<char, kChunk / 4> chunk;  // NOLINT: filled by read
    const ssize_t n = ::read(from_.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) return Step::kMoved;
    if (n < 0 && errno == EAGAIN) return Step::kSourceEmpty;
    if (n <= 0) return Step::kEnd;  // EIO: the last user of the terminal is gone
    held_.assign(chunk.data(), static_cast<std::size_t>(n));
  }
  const ssize_t n = ::write(to_->get(), held_.data(), held_.size());
  if (n < 0 && errno == EINTR) return Step::kMoved;
  if (n < 0 && errno == EAGAIN) return Step::kSinkFull;
  if (n < 0) return Step::kEnd;
  held_.erase(0, static_cast<std::size_t>(n));
  if (held_.empty()) held_.shrink_to_fit();
  return Step::kMoved;
}

void Pump::finish() {
  loop_.forget(std::exchange(watch_, 0));
  from_.reset();
  end_when_read(EventLoop::Clock::now() + kToBeRead, std::chrono::milliseconds{1});
}

// Nothing wakes a writer when a pipe that has room gets empty.
void Pump::end_when_read(EventLoop::Clock::time_point until, std::chrono::milliseconds pause) {
  const bool shared = to_.use_count() > 1;  // who is last waits
  if (shared || !holds_something(*to_) || EventLoop::Clock::now() >= until) return end();
  constexpr std::chrono::milliseconds kLongest{20};
  watch_ = loop_.after(pause, [this, until, next = std::min(2 * pause, kLongest)] {
    watch_ = 0;
    end_when_read(until, next);
  });
}

void Pump::end() {
  to_.reset();
  const auto done = std::move(done_);
  if (done) done();
}

}  // namespace shunt
