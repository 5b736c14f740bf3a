// Answers `shunt inspect`: a socket of the pod's shim that hands one JSON document to whoever
// connects (root only) and closes. On the event loop's thread; a slow reader is served in pieces.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "netstack/base/event_loop.h"

namespace shunt {

/// Where the shims of a node can be asked: one socket per pod, named by the pod's id.
std::string inspect_directory(const std::string& state);
std::string inspect_socket(const std::string& state, const std::string& pod_id);

class InspectServer {
 public:
  InspectServer(EventLoop& loop, std::function<std::string()> document);
  ~InspectServer();
  InspectServer(const InspectServer&) = delete;
  InspectServer& operator=(const InspectServer&) = delete;

  Status listen(const std::string& path);

 private:
  struct Reader {
    UniqueFd socket;
    std::string rest;
    EventLoop::Token watch = 0;
  };
  void accept_ready();
  void write_to(int fd);
  void drop(int fd);

  EventLoop& loop_;
  std::function<std::string()> document_;
  std::string path_;
  UniqueFd listener_;
  EventLoop::Token watch_ = 0;
  std::map<int, Reader> readers_;
};

}  // namespace shunt
