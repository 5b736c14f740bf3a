// An opened RDMA device with one of its ports: what all links of a shim share.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "netstack/base/event_loop.h"
#include "netstack/verbs/gid.h"
#include "netstack/verbs/owned.h"

namespace shunt::verbs {

class Device {
 public:
  /// Opens the device called `name`, or the first with an active port that has a usable address.
  /// ENODEV: there is none (of that name); ENETDOWN: its ports are down. The calling thread must be
  /// in the node's network namespace: a kernel may show devices to that one only.
  static Result<std::unique_ptr<Device>> open(Calls& calls, const std::string& name);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  Calls& calls() const { return calls_; }
  ibv_context* context() const { return context_.get(); }
  const std::string& name() const { return name_; }
  const ibv_device_attr& limits() const { return limits_; }
  std::uint8_t port() const { return port_; }
  bool ethernet() const { return ethernet_; }
  /// Without a way to write with an immediate (iWARP): this fabric cannot use it. Such a device
  /// would need WRITE followed by SEND, and rdma_cm to connect.
  bool writes_with_immediate() const { return immediate_; }

  /// Now: both change while the device is open.
  Result<ibv_port_attr> port_state() const;
  std::vector<Gid> gids() const;

  /// Reports events of the device, its port (`qp` null) or one queue pair: see IBV_EVENT_*.
  using OnEvent = std::function<void(ibv_event_type event, const ibv_qp* qp)>;
  Status watch(EventLoop& loop, OnEvent on_event);

 private:
  Device(Calls& calls, std::string name, ibv_context* context);
  Status set_up();
  Status pick_port();
  void drain_events();

  Calls& calls_;
  std::string name_;
  OwnedContext context_;
  ibv_device_attr limits_{};
  std::uint8_t port_ = 0;
  bool ethernet_ = false;
  bool immediate_ = false;
  EventLoop* loop_ = nullptr;
  EventLoop::Token token_ = 0;
  OnEvent on_event_;
};

/// Makes a descriptor of the library non-blocking; they come blocking.
Status set_nonblocking(int fd);

}  // namespace shunt::verbs
