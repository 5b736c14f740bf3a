#include "netstack/base/socket_calls.h"

#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

namespace shunt {
namespace {

constexpr unsigned kAcceptDontWait = 1U << 1;  // IORING_ACCEPT_DONTWAIT, Linux 6.10

// The signal that interrupts a plain call stuck in the kernel. Real-time, so that it is nobody
// else's; its handler does nothing and is installed without SA_RESTART.
int interrupt_signal() { return SIGRTMIN + 3; }

void install_interrupt_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(interrupt_signal(), &action, nullptr);
  });
}

/// Waits until a connecting socket is done. True: connected, and only the call that says so is
/// missing. An error stays on the socket, for the application to fetch.
bool wait_connected(int socket, std::chrono::microseconds patience) {
  pollfd entry{socket, POLLOUT, 0};
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
  const timespec limit{seconds.count(), std::chrono::nanoseconds(patience - seconds).count()};
  return ::ppoll(&entry, 1, &limit, nullptr) == 1 && (entry.revents & (POLLERR | POLLHUP)) == 0;
}

}  // namespace

struct SocketCalls::Ring {
  io_uring ring{};
  bool usable = false;
  Ring() { usable = ::io_uring_queue_init(4, &ring, 0) == 0; }
  ~Ring() {
    if (usable) ::io_uring_queue_exit(&ring);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Reaps until the completion tagged `tag` is seen. Everything submitted completes promptly:
  // either at once or because it was cancelled.
  int wait_for(std::uint64_t tag) {
    for (;;) {
      io_uring_cqe* done = nullptr;
      const int rc = ::io_uring_wait_cqe(&ring, &done);
      if (rc == -EINTR) continue;
      if (rc < 0) return rc;
      const std::uint64_t seen = done->user_data;
      const int result = done->res;
      ::io_uring_cqe_seen(&ring, done);
      if (seen == tag) return result;
    }
  }

  int accept(int listener, int flags, SockAddress* peer) {
    io_uring_sqe* call = ::io_uring_get_sqe(&ring);
    if (peer != nullptr) peer->length = sizeof peer->storage;
    ::io_uring_prep_accept(call, listener, peer != nullptr ? peer->get() : nullptr,
                           peer != nullptr ? &peer->length : nullptr, flags);
    call->ioprio = kAcceptDontWait;
    call->user_data = kCall;
    if (const int rc = ::io_uring_submit_and_wait(&ring, 1); rc < 0 && rc != -EINTR) return rc;
    return wait_for(kCall);
  }

  int connect(int socket, const sockaddr* address, socklen_t length,
              std::chrono::microseconds patience) {
    io_uring_sqe* call = ::io_uring_get_sqe(&ring);
    ::io_uring_prep_connect(call, socket, address, length);
    call->user_data = kCall;
    if (const int rc = ::io_uring_submit(&ring); rc < 0) return rc;
    io_uring_cqe* done = nullptr;
    if (::io_uring_peek_cqe(&ring, &done) == 0) return wait_for(kCall);
    if (patience.count() > 0) {
      __kernel_timespec limit{patience.count() / 1'000'000, patience.count() % 1'000'000 * 1000};
      if (::io_uring_wait_cqe_timeout(&ring, &done, &limit) == 0) return wait_for(kCall);
    }
    io_uring_sqe* cancel = ::io_uring_get_sqe(&ring);
    ::io_uring_prep_cancel64(cancel, kCall, 0);
    cancel->user_data = kCancel;
    if (const int rc = ::io_uring_submit(&ring); rc < 0) return rc;
    wait_for(kCancel);
    const int result = wait_for(kCall);
    return result == -ECANCELED || result == -EINTR ? -EINPROGRESS : result;
  }

  static constexpr std::uint64_t kCall = 1;
  static constexpr std::uint64_t kCancel = 2;
};

// A timer of the calling thread that fires again and again while armed: a single shot could hit
// just before the call it is to interrupt begins to wait.
struct SocketCalls::Timer {
  timer_t timer{};
  bool usable = false;
  pid_t owner = 0;
  Timer() = default;
  ~Timer() { drop(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  void arm(long nanoseconds) const {
    const itimerspec when{{0, nanoseconds}, {0, nanoseconds}};
    ::timer_settime(timer, 0, &when, nullptr);
  }
  // The object may have been made by another thread than the one that uses it; a signal for that
  // one would interrupt nothing here.
  void belong_to_caller() {
    thread_local const pid_t self = ::gettid();
    if (owner == self && usable) return;
    drop();
    owner = self;
    install_interrupt_handler();
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = interrupt_signal();
    event._sigev_un._tid = ::gettid();
    usable = ::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
    sigset_t own{};
    ::sigemptyset(&own);
    ::sigaddset(&own, interrupt_signal());
    ::pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
  }

 private:
  void drop() const {
    if (usable) ::timer_delete(timer);
  }
};

SocketCalls::SocketCalls(Way way) {
  if (way == Way::kBest) {
    ring_ = std::make_unique<Ring>();
    // Probed by doing: a kernel before 6.10 refuses the flag with EINVAL, a newer one looks at the
    // descriptor first.
    if (!ring_->usable) {
      ring_.reset();
    } else {
      const UniqueFd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
      sockaddr_storage autobind{};
      autobind.ss_family = AF_UNIX;
      const bool listening = ::bind(probe.get(), reinterpret_cast<const sockaddr*>(&autobind),
                                    sizeof(sa_family_t)) == 0 &&
                             ::listen(probe.get(), 1) == 0;
      if (!listening || ring_->accept(probe.get(), SOCK_CLOEXEC, nullptr) != -EAGAIN) ring_.reset();
    }
  }
  timer_ = std::make_unique<Timer>();
}

SocketCalls::~SocketCalls() = default;

bool SocketCalls::ready() {
  timer_->belong_to_caller();
  return timer_->usable;
}

Result<UniqueFd> SocketCalls::accept(int listener, int flags, SockAddress* peer) {
  if (ring_ != nullptr) {
    const int fd = ring_->accept(listener, flags | SOCK_CLOEXEC, peer);
    if (fd < 0) return Error{-fd, "accept"};
    return UniqueFd{fd};
  }
  if (!ready()) return Error{ENOBUFS, "timer_create"};
  pollfd entry{listener, POLLIN, 0};
  if (::poll(&entry, 1, 0) == 0) return Error{EAGAIN, "accept"};
  timer_->arm(1'000'000);
  if (peer != nullptr) peer->length = sizeof peer->storage;
  const int fd = ::accept4(listener, peer != nullptr ? peer->get() : nullptr,
                           peer != nullptr ? &peer->length : nullptr, flags | SOCK_CLOEXEC);
  const int error = errno;
  timer_->arm(0);
  if (fd >= 0) return UniqueFd{fd};
  return Error{error == EINTR ? EAGAIN : error, "accept"};
}

Status SocketCalls::connect(int socket, const sockaddr* address, socklen_t length,
                            std::chrono::microseconds patience) {
  if (!ready()) return Error{ENOBUFS, "timer_create"};
  int error = 0;
  if (ring_ != nullptr) {
    error = -ring_->connect(socket, address, length, patience);
    if (error == EAGAIN) error = EINPROGRESS;  // its word for a file that is O_NONBLOCK after all
    if (error != 0 && error != EINPROGRESS && error != EISCONN) {
      // io_uring took the error from a socket that still believes to be connecting. The plain call
      // puts that right: it has nothing left to report but ECONNABORTED.
      timer_->arm(1'000'000);
      const int settled = ::connect(socket, address, length) == 0 ? 0 : errno;
      timer_->arm(0);
      if (settled != ECONNABORTED) error = settled == EINTR ? EINPROGRESS : settled;
    }
  } else {
    timer_->arm(std::max<long>(patience.count(), 200) * 1000);
    error = ::connect(socket, address, length) == 0 ? 0 : errno;
    timer_->arm(0);
    if (error == EINTR) error = EINPROGRESS;  // that is what EINTR means for connect
  }
  if (error != 0) return Error{error, "connect"};
  return Done{};
}

SocketCalls::Started SocketCalls::start_connect(int socket, const sockaddr* address,
                                                socklen_t length,
                                                std::chrono::microseconds patience) {
  // The plain call, since io_uring would fetch SO_ERROR. It blocks only if somebody clears the flag
  // at this very moment; then the timer gets us out. A timer that is due before the next tick would
  // have to be given to the hardware, which is dear in a VM.
  Started result{.error = ENOBUFS};
  if (!ready()) return result;
  timer_->arm(50'000'000);
  result.error = ::connect(socket, address, length) == 0 ? 0 : errno;
  timer_->arm(0);
  if (result.error == EINTR) result.error = EINPROGRESS;
  result.established = result.error == 0 || (result.error == EINPROGRESS && patience.count() > 0 &&
                                             wait_connected(socket, patience));
  return result;
}

}  // namespace shunt
