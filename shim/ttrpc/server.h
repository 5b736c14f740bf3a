// A ttrpc server: unary calls over AF_UNIX stream connections, on one event loop thread.
//
// Calls may stay unanswered for as long as a container lives (Wait) and cost no thread: a call is
// answered whenever its Responder is called. Reading never waits for writing, so that a slow client
// cannot dead-lock with us (containerd/ttrpc issue 72). A peer that is not our own uid and gid is
// cut off.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "netstack/base/event_loop.h"
#include "netstack/base/unique_fd.h"
#include "shim/ttrpc/status.h"

namespace shunt::ttrpc {

class Connection;

struct Call {
  std::string service;
  std::string method;
  std::string payload;
};

/// Answers one call, once, from the loop's thread. Dropped unanswered it answers Internal. An
/// answer to a connection that is gone, or to a call whose timeout has passed, is discarded.
class Responder {
 public:
  Responder(std::weak_ptr<Connection> connection, std::uint32_t stream)
      : connection_{std::move(connection)}, stream_{stream} {}
  Responder(Responder&& other) noexcept
      : connection_{std::move(other.connection_)}, stream_{std::exchange(other.stream_, 0)} {}
  Responder& operator=(Responder&&) = delete;
  ~Responder();

  void operator()(const Answer<std::string>& answer);
  bool wanted() const;  ///< false once nobody waits for the answer

 private:
  std::weak_ptr<Connection> connection_;
  std::uint32_t stream_;  ///< 0: answered (client stream ids are odd)
};

class Server {
 public:
  using Handler = std::function<void(Call, Responder)>;

  /// `listener`: a listening AF_UNIX stream socket, non-blocking.
  Server(EventLoop& loop, UniqueFd listener, Handler handler);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::size_t connections() const { return connections_.size(); }
  bool flushed() const;  ///< every answer given so far has reached the kernel

 private:
  friend class Connection;
  void accept_ready();
  void drop(Connection* connection);

  EventLoop& loop_;
  UniqueFd listener_;
  EventLoop::Token watch_ = 0;
  EventLoop::Token retry_ = 0;
  Handler handler_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections_;
};

/// Whether the peer of a connected AF_UNIX socket runs as our own user and group.
bool peer_is_us(int fd);

}  // namespace shunt::ttrpc
