// Receives the pty master of a process from the OCI runtime: a listening socket named by
// --console-socket, over which the runtime sends one descriptor (OCI runtime CLI, SCM_RIGHTS).
#pragma once

#include <string>

#include "netstack/base/co.h"
#include "netstack/base/event_loop.h"

namespace shunt {

class ConsoleSocket {
 public:
  /// Binds a socket with a short name in `directory` (sun_path holds 108 bytes; bundles may be
  /// longer).
  static Result<ConsoleSocket> listen(const std::string& directory);
  ConsoleSocket(ConsoleSocket&&) noexcept = default;
  ConsoleSocket& operator=(ConsoleSocket&&) = delete;
  ~ConsoleSocket();

  const std::string& path() const { return path_; }
  /// Waits for the runtime's descriptor. Error: ETIMEDOUT, EPROTO (no descriptor came).
  Co<Result<UniqueFd>> receive(EventLoop& loop, std::chrono::nanoseconds timeout);

 private:
  ConsoleSocket(std::string path, UniqueFd listener)
      : path_{std::move(path)}, listener_{std::move(listener)} {}
  std::string path_;
  UniqueFd listener_;
};

}  // namespace shunt
