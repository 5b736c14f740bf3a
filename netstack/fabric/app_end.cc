#include "netstack/fabric/app_end.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace shunt::fabric {
namespace {

/// How much may lie seen but unconsumed. Each peek walks over it, so it stays short.
constexpr std::size_t kMostSeen = 2 * AppEnd::kMostSmall;
constexpr unsigned kMostPeeks = 32;
/// What the kernel may hold for an application that does not read, on top of the ring.
constexpr int kSendBuffer = 256 << 10;

/// What the application's end may hold (as the kernel counts, doubled).
constexpr int kLeastApplicationBuffer = 512 << 10;
/// More only fills the cache: we take the bytes as they come, many small writes wait in the ring as
/// bytes, and four copies of what is under way should be near. 64 KiB writes on one CPU, CPU
/// seconds per GB: 0.60 with 16 MiB, 0.54 with 4, 0.50 with 2, 1 or 1/2.
constexpr int kMostApplicationBuffer = 2 << 20;

void set_send_buffer(int socket, int size) {
  if (::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

/// How many bytes may then be seen but not consumed. A socket is writable while less than a quarter
/// of its buffer is in use, and in use is all that is not consumed: each byte may be a write of its
/// own, charged about a KiB, and the last one may hold a large buffer (about 52 KiB).
Result<std::size_t> fit_send_buffer(int socket) {
  constexpr int kLargeBuffer = 56 << 10;
  constexpr int kSmallBuffer = 1 << 10;
  int size = 0;
  socklen_t length = sizeof size;
  if (::getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, &length) < 0)
    return last_error("getsockopt(SO_SNDBUF)");
  const int fit = std::clamp(size, kLeastApplicationBuffer, kMostApplicationBuffer);
  if (fit != size) set_send_buffer(socket, fit / 2);
  return static_cast<std::size_t>((fit / 4 - kLargeBuffer) / kSmallBuffer);
}

std::span<std::byte> scratch() {
  static thread_local std::array<std::byte, kMostSeen + AppEnd::kMostSmall> bytes;
  return bytes;
}

bool would_block(int number) { return number == EAGAIN || number == EWOULDBLOCK; }

}  // namespace

Result<AppEnd> AppEnd::take_over(Ends& ends) {
  const auto most_seen = fit_send_buffer(ends.application.get());
  if (!most_seen) return most_seen.error();
  const std::byte seed{0};
  if (::send(ends.application.get(), &seed, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
    return last_error("send");
  const int from_the_head = 0;
  if (::setsockopt(ends.ours.get(), SOL_SOCKET, SO_PEEK_OFF, &from_the_head, sizeof from_the_head) <
      0)
    return last_error("setsockopt(SO_PEEK_OFF)");
  set_send_buffer(ends.ours.get(), kSendBuffer);
  // An urgent byte stays in its place among the others.
  const int in_line = 1;
  ::setsockopt(ends.ours.get(), SOL_SOCKET, SO_OOBINLINE, &in_line, sizeof in_line);
  AppEnd end;
  end.most_seen_ = *most_seen;
  end.fd_ = std::move(ends.ours);
  std::byte seen{};
  if (::recv(end.fd(), &seen, 1, MSG_PEEK | MSG_DONTWAIT) != 1) return last_error("recv");
  end.seen_ = 1;
  return end;
}

Status AppEnd::consume(std::size_t bytes) {
  const ssize_t n = ::recv(fd(), scratch().data(), std::min(bytes, scratch().size()), MSG_DONTWAIT);
  if (n < 0) return last_error("recv");
  seen_ -= std::min(seen_, static_cast<std::size_t>(n));
  peeks_ = 0;
  return Done{};
}

Result<AppEnd::Taken> AppEnd::take_small(std::span<std::byte> small, bool may_grow) {
  const ssize_t n = ::recv(fd(), small.data(), small.size(), MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) {
    if (would_block(errno)) return Taken{.drained = true};
    return last_error("recv");
  }
  if (n == 0) return Taken{.drained = true, .ended = true};
  const auto got = static_cast<std::size_t>(n);
  seen_ += got;
  ++peeks_;
  // Full: more may be waiting. Short: whatever comes now makes an event of its own.
  bulk_ = may_grow && got == small.size();
  if (seen_ > most_seen_ && !bulk_)
    if (const Status done = consume(seen_ - 1); !done) return done.error();
  return Taken{.small = got, .drained = got < small.size()};
}

Result<AppEnd::Taken> AppEnd::take_large(std::span<const iovec> large, std::size_t waiting) {
  // All but the last byte that waits is consumed; the last is only looked at.
  std::array<iovec, 4> parts{};
  std::size_t count = 0;
  std::size_t left = waiting - 1;
  if (seen_ > 0) parts[count++] = {scratch().data(), seen_};
  std::byte* last = nullptr;  // where the byte that stays is to go, if there is room for it
  for (const iovec& part : large.first(std::min<std::size_t>(large.size(), 2))) {
    const std::size_t size = std::min(left, part.iov_len);
    if (size > 0) parts[count++] = {part.iov_base, size};
    left -= size;
    if (left == 0 && last == nullptr && size < part.iov_len)
      last = static_cast<std::byte*>(part.iov_base) + size;
  }
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  const ssize_t n = ::recvmsg(fd(), &message, MSG_DONTWAIT);
  if (n < 0) return last_error("recvmsg");
  const std::size_t got =
      static_cast<std::size_t>(n) - std::min(seen_, static_cast<std::size_t>(n));
  seen_ -= std::min(seen_, static_cast<std::size_t>(n));
  peeks_ = 0;
  Taken taken{.large = got};
  if (got == waiting - 1 && last != nullptr &&
      ::recv(fd(), last, 1, MSG_PEEK | MSG_DONTWAIT) == 1) {
    seen_ = 1;
    ++taken.large;
    taken.drained = true;  // as far as was known when `waiting` was asked for
  }
  return taken;
}

void AppEnd::noticed(std::uint32_t events) {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ending_ = true;
  if ((events & EPOLLPRI) != 0) urgent_ = true;
}

Result<AppEnd::Taken> AppEnd::take(std::span<std::byte> small, std::span<const iovec> large) {
  auto taken = look(small, large);
  // The event of the end has been: no other will come for it.
  if (taken && ending_ && !taken->ended) taken->drained = false;
  return taken;
}

bool AppEnd::at_mark() const {
  int value = 0;
  return ::ioctl(fd(), SIOCATMARK, &value) == 0 && value != 0;
}

// An ordinary read stops before an urgent byte, and what has been seen is in front of it: so all of
// that goes first. The urgent byte is then only looked at, and stays as what is seen.
Result<AppEnd::Taken> AppEnd::take_to_mark(std::span<std::byte> small) {
  Taken taken;
  // The mark may be among what was seen: taken before, or just when it came.
  if (!at_mark() && seen_ > 0)
    if (const Status done = consume(seen_); !done) return done.error();
  urgent_ = seen_ == 0;
  if (!urgent_) return taken;
  bulk_ = false;
  if (at_mark()) {
    const ssize_t n = ::recv(fd(), small.data(), 1, MSG_PEEK | MSG_DONTWAIT);
    if (n != 1) return last_error("recv");
    urgent_ = false;
    seen_ = peeks_ = 1;
    taken.small = 1;
    taken.urgent = true;
    return taken;
  }
  const ssize_t n = ::recv(fd(), small.data(), small.size(), MSG_DONTWAIT);
  if (n < 0 && !would_block(errno)) return last_error("recv");
  if (n <= 0) urgent_ = false;
  if (n <= 0) taken.drained = true;
  if (n == 0) taken.ended = true;
  taken.small = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  return taken;
}

Result<AppEnd::Taken> AppEnd::look(std::span<std::byte> small, std::span<const iovec> large) {
  small = small.first(std::min(small.size(), kMostSmall));
  if (urgent_) {
    auto taken = take_to_mark(small);
    if (!taken || urgent_ || taken->small > 0 || taken->drained) return taken;
  }
  if ((seen_ > kMostSmall || peeks_ >= kMostPeeks) && seen_ > 1)
    if (const Status done = consume(seen_ - 1); !done) return done.error();
  if (large.empty()) return take_small(small, false);
  if (!bulk_) {
    auto taken = take_small(small, true);
    if (!taken || !bulk_) return taken;
    // More is waiting than a small message holds. Take back the look and read it in one piece.
    seen_ -= taken->small;
    const int offset = static_cast<int>(seen_);
    ::setsockopt(fd(), SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset);
  }
  int queued = 0;
  if (::ioctl(fd(), SIOCINQ, &queued) < 0) return last_error("ioctl(SIOCINQ)");
  const std::size_t waiting = static_cast<std::size_t>(queued) - seen_;
  if (waiting > small.size()) return take_large(large, waiting);
  bulk_ = false;
  return take_small(small, false);  // not drained if another write has filled it since
}

Result<std::size_t> AppEnd::give(std::span<const iovec> bytes) {
  constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(bytes.data());  // sendmsg(2) does not write there
  message.msg_iovlen = bytes.size();
  // Mostly it is one part, which the kernel need not be told in two steps.
  const ssize_t n = bytes.size() == 1 ? ::send(fd(), bytes[0].iov_base, bytes[0].iov_len, kFlags)
                                      : ::sendmsg(fd(), &message, kFlags);
  if (n >= 0) return static_cast<std::size_t>(n);
  if (would_block(errno)) return std::size_t{0};
  return last_error("send");
}

Result<std::size_t> AppEnd::give_urgent(std::byte byte) {
  const ssize_t n = ::send(fd(), &byte, 1, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n >= 0) return static_cast<std::size_t>(n);
  if (would_block(errno)) return std::size_t{0};
  return last_error("send");
}

bool AppEnd::gone() const {
  pollfd state{fd(), 0, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & POLLHUP) != 0;
}

int AppEnd::error() const {
  int number = 0;
  socklen_t length = sizeof number;
  ::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &number, &length);
  return number;
}

void AppEnd::finish() const { ::shutdown(fd(), SHUT_WR); }

void AppEnd::close() {
  while (fd_.valid() && ::recv(fd(), scratch().data(), scratch().size(), MSG_DONTWAIT) > 0) {
  }
  fd_.reset();
}

void AppEnd::reset() { fd_.reset(); }

}  // namespace shunt::fabric
