#include "netstack/verbs/device.h"

#include <fcntl.h>

#include <array>

namespace shunt::verbs {

Status set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return last_error("fcntl");
  return Done{};
}

Result<std::unique_ptr<Device>> Device::open(Calls& calls, const std::string& name) {
  int count = 0;
  ibv_device** const list = calls.get_device_list(&count);
  if (list == nullptr) return last_error("ibv_get_device_list");
  Error why{ENODEV, "ibv_get_device_list"};
  std::unique_ptr<Device> found;
  for (int i = 0; i < count && found == nullptr; ++i) {
    const std::string own{&list[i]->name[0]};
    if (!name.empty() && own != name) continue;
    ibv_context* const context = calls.open_device(list[i]);
    if (context == nullptr) {
      why = last_error("ibv_open_device");
      continue;
    }
    std::unique_ptr<Device> device{new Device{calls, own, context}};
    if (const Status ready = device->set_up(); !ready) {
      why = ready.error();
      continue;
    }
    found = std::move(device);
  }
  calls.free_device_list(list);
  if (found == nullptr) return why;
  return found;
}

Device::Device(Calls& calls, std::string name, ibv_context* context)
    : calls_{calls}, name_{std::move(name)}, context_{calls, context} {}

Device::~Device() {
  if (loop_ != nullptr) loop_->forget(token_);
}

Status Device::set_up() {
  if (calls_.query_device(context_.get(), &limits_) != 0) return last_error("ibv_query_device");
  if (const Status picked = pick_port(); !picked) return picked;
  immediate_ = context_->device->transport_type == IBV_TRANSPORT_IB;  // RoCE counts as IB here
  return set_nonblocking(context_->async_fd);
}

Status Device::pick_port() {
  Error why{ENODEV, "ibv_query_port"};
  for (std::uint8_t port = 1; port <= limits_.phys_port_cnt; ++port) {
    port_ = port;
    const auto state = port_state();
    if (!state) return state.error();
    ethernet_ = state->link_layer == IBV_LINK_LAYER_ETHERNET;
    if (state->state != IBV_PORT_ACTIVE) {
      why = {ENETDOWN, "ibv_query_port"};
      continue;
    }
    if (!gids().empty()) return Done{};
    why = {EADDRNOTAVAIL, "ibv_query_gid_table"};
  }
  return why;
}

Result<ibv_port_attr> Device::port_state() const {
  ibv_port_attr state{};
  if (calls_.query_port(context_.get(), port_, &state) != 0) return last_error("ibv_query_port");
  return state;
}

std::vector<Gid> Device::gids() const {
  std::vector<ibv_gid_entry> table(1024);
  const ssize_t count = calls_.query_gid_table(context_.get(), table.data(), table.size());
  table.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
  return usable(table, port_, ethernet_);
}

Status Device::watch(EventLoop& loop, OnEvent on_event) {
  auto token = loop.watch(context_->async_fd, EPOLLIN, [this](std::uint32_t) { drain_events(); });
  if (!token) return token.error();
  loop_ = &loop;
  token_ = *token;
  on_event_ = std::move(on_event);
  return Done{};
}

void Device::drain_events() {
  ibv_async_event event{};
  while (calls_.get_async_event(context_.get(), &event) == 0) {
    const ibv_qp* qp = nullptr;
    switch (event.event_type) {
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_QP_REQ_ERR:
      case IBV_EVENT_QP_ACCESS_ERR:
      case IBV_EVENT_COMM_EST:
      case IBV_EVENT_SQ_DRAINED:
      case IBV_EVENT_PATH_MIG:
      case IBV_EVENT_PATH_MIG_ERR:
      case IBV_EVENT_QP_LAST_WQE_REACHED:
        qp = event.element.qp;
        break;
      case IBV_EVENT_PORT_ACTIVE:
      case IBV_EVENT_PORT_ERR:
      case IBV_EVENT_GID_CHANGE:
        if (event.element.port_num != port_) {
          calls_.ack_async_event(&event);
          continue;
        }
        break;
      default:
        break;
    }
    const ibv_event_type type = event.event_type;
    // Destroying a queue pair waits until its events are acknowledged, and the callback may lead to
    // that: acknowledge first. `qp` is then only compared, never read.
    calls_.ack_async_event(&event);
    on_event_(type, qp);
  }
}

}  // namespace shunt::verbs
