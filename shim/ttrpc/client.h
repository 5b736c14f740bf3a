// A ttrpc client for one server on an AF_UNIX socket, on one event loop thread. It connects when a
// call needs it and again after the server went away; calls in flight then end in Unavailable.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <unordered_map>

#include "netstack/base/co.h"
#include "netstack/base/event_loop.h"
#include "shim/ttrpc/frame.h"
#include "shim/ttrpc/status.h"

namespace shunt::ttrpc {

class Client {
 public:
  Client(EventLoop& loop, std::string socket_path) : loop_{loop}, path_{std::move(socket_path)} {}
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// The response payload. Unavailable: no connection, or it broke. DeadlineExceeded: `timeout`
  /// passed.
  Co<Answer<std::string>> call(std::string service, std::string method, std::string payload,
                               std::chrono::nanoseconds timeout);

 private:
  bool connect();
  void disconnect();
  void ready(std::uint32_t events);
  bool flush();

  EventLoop& loop_;
  std::string path_;
  UniqueFd fd_;
  EventLoop::Token watch_ = 0;
  FrameReader reader_;
  std::string out_;
  std::uint32_t next_stream_ = 1;
  std::unordered_map<std::uint32_t, Once<Answer<std::string>>> pending_;
};

}  // namespace shunt::ttrpc
