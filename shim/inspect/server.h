// Answers `shunt inspect`: a socket of the pod's shim that hands one JSON document to whoever
// connects (root only) and closes. On the event loop's thread, except for making a whole document,
// which has a thread of its own meanwhile; a slow reader is served in pieces.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "netstack/base/event_loop.h"

namespace shunt {

/// Where the shims of a node can be asked: one socket per pod, named by the pod's id.
std::string inspect_directory(const std::string& state);
std::string inspect_socket(const std::string& state, const std::string& pod_id);

/// Connects to such a socket. What is wanted is said by the name of the asking socket: so the shim
/// knows it at once and waits for nothing, and one that knows no such names gives everything.
enum class InspectWish { kEverything, kHead };
Result<UniqueFd> connect_inspect(const std::string& path, InspectWish wish);

class InspectServer {
 public:
  using Document = std::function<std::string()>;
  struct Source {
    Document head;                      ///< on the loop
    std::function<Document()> prepare;  ///< on the loop; what it gives runs on another thread
  };
  InspectServer(EventLoop& loop, Source source);
  ~InspectServer();  ///< waits for a document that is being made
  InspectServer(const InspectServer&) = delete;
  InspectServer& operator=(const InspectServer&) = delete;

  Status listen(const std::string& path);

 private:
  struct Reader {
    UniqueFd socket;
    std::string text;
    std::size_t sent = 0;
    EventLoop::Token watch = 0;
  };
  void accept_ready();
  void make_next();
  void made();
  void answer(int fd, std::string text);
  void write_to(int fd);
  void drop(int fd);

  EventLoop& loop_;
  Source source_;
  std::string path_;
  UniqueFd listener_;
  EventLoop::Token watch_ = 0;
  std::map<int, Reader> readers_;
  // One document at a time. The thread writes `text_`, then `made_`; joining it makes it ours.
  std::deque<int> waiting_;  ///< readers that want everything, the first one's is being made
  std::thread maker_;
  std::string text_;
  UniqueFd made_;  ///< an eventfd
  EventLoop::Token made_watch_ = 0;
};

}  // namespace shunt
