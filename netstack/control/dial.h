// Making TCP connections from inside the pod, without waiting.
#pragma once

#include <functional>

#include "netstack/base/endpoint.h"
#include "netstack/base/event_loop.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::control {

/// One connect(2) under way in a network namespace. Destroying it gives it up.
class Dial {
 public:
  explicit Dial(EventLoop& loop) : loop_{loop} {}
  ~Dial() { loop_.forget(watch_); }
  Dial(const Dial&) = delete;
  Dial& operator=(const Dial&) = delete;

  /// `from`: our address, or unspecified for the one that the route says.
  /// `done` gets the connected, non-blocking socket or the error of connect(2), from the loop; it
  /// may destroy this object. No time limit of its own. An error here: done is not called.
  using Connected = std::function<void(Result<UniqueFd>)>;
  Status start(int netns, const IpAddress& from, const Endpoint& to, Connected done);

  std::uint16_t local_port() const { return local_port_; }  ///< once start() succeeded

 private:
  void finish();

  EventLoop& loop_;
  UniqueFd socket_;
  EventLoop::Token watch_ = 0;
  std::uint16_t local_port_ = 0;
  Connected done_;
};

/// A listening, non-blocking socket in `netns` that nobody else can share or bind beside.
/// EADDRINUSE: somebody has the port.
Result<UniqueFd> listen_alone(int netns, const Endpoint& at);

}  // namespace shunt::control
