// accept(2) and connect(2) that never block the caller, on sockets shared with somebody who may set
// or clear O_NONBLOCK at any moment, and without touching that flag.
//
// io_uring passes "do not wait" with the call instead of the file. Where it is not to be had (old
// kernel, kernel.io_uring_disabled) the plain calls run under a timer whose signal interrupts them.
// One object per thread, used by that thread only, whoever made it.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <memory>

#include "netstack/base/endpoint.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt {

class SocketCalls {
 public:
  enum class Way { kBest, kTimer };  ///< kTimer: as if io_uring were not to be had (for tests)
  explicit SocketCalls(Way way = Way::kBest);
  ~SocketCalls();
  SocketCalls(const SocketCalls&) = delete;
  SocketCalls& operator=(const SocketCalls&) = delete;

  /// Whether the calling thread has what interrupts its calls. Without (RLIMIT_SIGPENDING, which
  /// others of the user use up, too) those below say ENOBUFS and do nothing, rather than wait.
  bool ready();

  /// EAGAIN: no connection waits. The result is close-on-exec, plus SOCK_NONBLOCK from `flags`.
  /// `peer`: where the client's address goes; as accept(2) reports it.
  Result<UniqueFd> accept(int listener, int flags, SockAddress* peer = nullptr);

  /// For a blocking socket. EINPROGRESS: the handshake did not end within `patience`; it goes on by
  /// itself.
  Status connect(int socket, const sockaddr* address, socklen_t length,
                 std::chrono::microseconds patience);

  /// For a socket with O_NONBLOCK, which Linux answers at once: the error is the caller's answer
  /// (0, EINPROGRESS, ...), whatever becomes of the handshake within `patience`. SO_ERROR is left
  /// for the application to fetch.
  struct Started {
    int error = 0;
    bool established = false;
  };
  Started start_connect(int socket, const sockaddr* address, socklen_t length,
                        std::chrono::microseconds patience);

 private:
  struct Ring;
  struct Timer;
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<Timer> timer_;
};

}  // namespace shunt
