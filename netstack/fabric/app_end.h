// The shim's end of the AF_UNIX pair whose other end the application holds: how a fabric that moves
// bytes itself reads what the application wrote, writes what the peer sent, and ends it as TCP
// would. Used on the fabric loop's thread.
//
// A reset is the hard part. AF_UNIX has no RST; the only way to give the application ECONNRESET is
// to close our end while something is unread in it (unix_release_sock sets the peer's sk_err). So
// something always is: a byte written before the application gets its end, and from then on the
// last bytes of the stream, which are forwarded when they are seen (MSG_PEEK with SO_PEEK_OFF) and
// consumed later. A clean end consumes them first.
//
// Because of them the socket is always readable: watch it edge-triggered.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "netstack/fabric/fabric.h"

namespace shunt::fabric {

class AppEnd {
 public:
  AppEnd() = default;
  /// Takes `ends.ours`; the application must not have touched its end yet.
  static Result<AppEnd> take_over(Ends& ends);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }

  /// What the application wrote. Up to small.size() bytes (at most kMostSmall) go to `small`; if
  /// more is waiting and `large` is not empty, all of it goes to `large` instead.
  struct Taken {
    std::size_t small = 0;
    std::size_t large = 0;
    bool drained = false;  ///< nothing was left; more causes a new event
    bool ended = false;    ///< the application will write no more (nothing was taken)
    bool urgent = false;   ///< the byte in `small` was sent with MSG_OOB
  };
  static constexpr std::size_t kMostSmall = 4096;
  /// ECONNRESET: the application closed its end with unread bytes in it.
  Result<Taken> take(std::span<std::byte> small, std::span<const iovec> large);

  /// Gives bytes to the application; how many it took, 0 if it takes none now. EPIPE: it is gone.
  Result<std::size_t> give(std::span<const iovec> bytes);

  /// The same for one byte, as urgent.
  Result<std::size_t> give_urgent(std::byte byte);

  /// Events seen on fd(), before take(): once the application has ended, only its end drains it;
  /// EPOLLPRI: it has written an urgent byte.
  void noticed(std::uint32_t events);

  /// Whether the application has closed its end altogether.
  bool gone() const;
  /// The error an EPOLLERR is about, and clears it: ECONNRESET as with take(); 0 if there is none.
  int error() const;

  void finish() const;  ///< the peer will send no more: the application reads end-of-file
  void close();         ///< cleanly, both directions being over
  void reset();         ///< the application gets ECONNRESET after what it was given

 private:
  Result<Taken> look(std::span<std::byte> small, std::span<const iovec> large);
  Result<Taken> take_small(std::span<std::byte> small, bool may_grow);
  Result<Taken> take_large(std::span<const iovec> large, std::size_t waiting);
  Result<Taken> take_to_mark(std::span<std::byte> small);
  bool at_mark() const;
  Status consume(std::size_t bytes);

  UniqueFd fd_;
  std::size_t seen_ = 0;  ///< bytes at the head of the queue that have been taken already
  std::size_t most_seen_ = 0;
  unsigned peeks_ = 0;   ///< since they were last consumed
  bool bulk_ = false;    ///< the last read was a large one
  bool ending_ = false;  ///< the end of the stream lies behind what is queued
  bool urgent_ = false;  ///< and an urgent byte
};

}  // namespace shunt::fabric
