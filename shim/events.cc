#include "shim/events.h"

#include "netstack/base/log.h"

namespace shunt {

using namespace std::chrono_literals;

wire::Timestamp to_wire(std::chrono::system_clock::time_point at) {
  const auto since =
      std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
  wire::Timestamp stamp;
  stamp.set_seconds(since / 1'000'000'000);
  stamp.set_nanos(static_cast<std::int32_t>(since % 1'000'000'000));
  return stamp;
}

Events::Events(EventLoop& loop, std::string containerd_ttrpc_address,
               std::string containerd_namespace, std::size_t capacity)
    : loop_{loop},
      client_{loop, std::move(containerd_ttrpc_address)},
      namespace_{std::move(containerd_namespace)},
      capacity_{capacity} {}

void Events::queue(const char* topic, const char* type,
                   const google::protobuf::MessageLite& event) {
  wire::ForwardRequest request;
  wire::Envelope& envelope = *request.mutable_envelope();
  *envelope.mutable_timestamp() = to_wire(std::chrono::system_clock::now());
  envelope.set_namespace_(namespace_);
  envelope.set_topic(topic);
  envelope.mutable_event()->set_type_url(type);
  envelope.mutable_event()->set_value(event.SerializeAsString());
  // The front may be on its way just now and stays; what is dropped is the oldest behind it.
  if (queue_.size() >= capacity_ && queue_.size() > 1) {
    queue_.erase(queue_.begin() + 1);
    if (dropped_++ == 0) log::warn("shim", "containerd takes no events; the oldest are dropped");
  }
  queue_.push_back(request.SerializeAsString());
  log::debug("shim", "event {}", topic);
  if (!sending_) {
    sending_ = true;
    spawn(send_queued());
  }
}

Co<void> Events::send_queued() {
  std::chrono::nanoseconds pause = 100ms;
  while (!queue_.empty()) {
    const std::string request = queue_.front();
    const auto answer =
        co_await client_.call("containerd.services.events.ttrpc.v1.Events", "Forward", request, 5s);
    const bool again = !answer && (answer.error().code == ttrpc::Code::kUnavailable ||
                                   answer.error().code == ttrpc::Code::kDeadlineExceeded);
    if (!again) {
      if (!answer) log::error("shim", "containerd refused an event: {}", answer.error().message);
      queue_.pop_front();
      pause = 100ms;
      continue;
    }
    co_await loop_.sleep(pause);
    pause = std::min<std::chrono::nanoseconds>(pause * 2, 2s);
  }
  sending_ = false;
}

}  // namespace shunt
