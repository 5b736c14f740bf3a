// What the shim publishes to containerd: task events, in order, through one queue.
//
// The queue outlives containerd: while it is away events are kept (up to a bound, oldest dropped
// and counted) and sent when it is back. One thread: the event loop's.
#pragma once

#include <chrono>
#include <deque>
#include <string>

#include "netstack/base/co.h"
#include "netstack/base/event_loop.h"
#include "shim/proto/events.pb.h"
#include "shim/ttrpc/client.h"

namespace shunt {

wire::Timestamp to_wire(std::chrono::system_clock::time_point at);

class Events {
 public:
  Events(EventLoop& loop, std::string containerd_ttrpc_address, std::string containerd_namespace,
         std::size_t capacity);

  void publish(const wire::TaskCreate& event) {
    queue("/tasks/create", "containerd.events.TaskCreate", event);
  }
  void publish(const wire::TaskStart& event) {
    queue("/tasks/start", "containerd.events.TaskStart", event);
  }
  void publish(const wire::TaskExit& event) {
    queue("/tasks/exit", "containerd.events.TaskExit", event);
  }
  void publish(const wire::TaskDelete& event) {
    queue("/tasks/delete", "containerd.events.TaskDelete", event);
  }
  void publish(const wire::TaskOOM& event) {
    queue("/tasks/oom", "containerd.events.TaskOOM", event);
  }
  void publish(const wire::TaskExecAdded& event) {
    queue("/tasks/exec-added", "containerd.events.TaskExecAdded", event);
  }
  void publish(const wire::TaskExecStarted& event) {
    queue("/tasks/exec-started", "containerd.events.TaskExecStarted", event);
  }
  void publish(const wire::TaskPaused& event) {
    queue("/tasks/paused", "containerd.events.TaskPaused", event);
  }
  void publish(const wire::TaskResumed& event) {
    queue("/tasks/resumed", "containerd.events.TaskResumed", event);
  }

  bool empty() const { return queue_.empty(); }
  std::size_t dropped() const { return dropped_; }

 private:
  void queue(const char* topic, const char* type, const google::protobuf::MessageLite& event);
  Co<void> send_queued();

  EventLoop& loop_;
  ttrpc::Client client_;
  std::string namespace_;
  std::size_t capacity_;
  std::deque<std::string> queue_;  ///< serialized ForwardRequests, oldest first
  bool sending_ = false;
  std::size_t dropped_ = 0;
};

}  // namespace shunt
