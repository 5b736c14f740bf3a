// For tests: passes every call on to another table, a real device's or the fake one's, and lets a
// test break what was made with it.
#pragma once

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "netstack/verbs/calls.h"

namespace shunt::verbs {

class Watched final : public Calls {
 public:
  explicit Watched(std::unique_ptr<Calls> inner) : inner_{std::move(inner)} {}
  Calls& inner() const { return *inner_; }

  // -- what tests do
  /// Puts the queue pair that was made first, of those that are left, into its error state.
  void break_first_pair();
  /// Takes all memory away from peers: their keys open nothing any more.
  void revoke_keys();
  /// Receives are not posted any more, though it looks so.
  bool starve = false;

  ibv_device** get_device_list(int* count) override { return inner_->get_device_list(count); }
  void free_device_list(ibv_device** list) override { inner_->free_device_list(list); }
  ibv_context* open_device(ibv_device* device) override { return inner_->open_device(device); }
  int close_device(ibv_context* context) override { return inner_->close_device(context); }
  int query_device(ibv_context* context, ibv_device_attr* attributes) override {
    return inner_->query_device(context, attributes);
  }
  int query_port(ibv_context* context, std::uint8_t port, ibv_port_attr* attributes) override {
    return inner_->query_port(context, port, attributes);
  }
  ssize_t query_gid_table(ibv_context* context, ibv_gid_entry* entries, std::size_t room) override {
    return inner_->query_gid_table(context, entries, room);
  }
  int get_async_event(ibv_context* context, ibv_async_event* event) override {
    return inner_->get_async_event(context, event);
  }
  void ack_async_event(ibv_async_event* event) override { inner_->ack_async_event(event); }
  ibv_pd* alloc_pd(ibv_context* context) override { return inner_->alloc_pd(context); }
  int dealloc_pd(ibv_pd* pd) override { return inner_->dealloc_pd(pd); }
  ibv_mr* reg_mr(ibv_pd* pd, void* address, std::size_t length, int access) override;
  ibv_mr* reg_mr_iova(ibv_pd* pd, void* address, std::size_t length, std::uint64_t iova,
                      int access) override;
  int dereg_mr(ibv_mr* mr) override;
  ibv_comp_channel* create_comp_channel(ibv_context* context) override {
    return inner_->create_comp_channel(context);
  }
  int destroy_comp_channel(ibv_comp_channel* channel) override {
    return inner_->destroy_comp_channel(channel);
  }
  ibv_cq* create_cq(ibv_context* context, int entries, void* user, ibv_comp_channel* channel,
                    int vector) override {
    return inner_->create_cq(context, entries, user, channel, vector);
  }
  int destroy_cq(ibv_cq* cq) override { return inner_->destroy_cq(cq); }
  int req_notify_cq(ibv_cq* cq, int solicited_only) override {
    return inner_->req_notify_cq(cq, solicited_only);
  }
  int get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** user) override {
    return inner_->get_cq_event(channel, cq, user);
  }
  void ack_cq_events(ibv_cq* cq, unsigned count) override { inner_->ack_cq_events(cq, count); }
  int poll_cq(ibv_cq* cq, int room, ibv_wc* completions) override {
    return inner_->poll_cq(cq, room, completions);
  }
  ibv_srq* create_srq(ibv_pd* pd, ibv_srq_init_attr* attributes) override {
    return inner_->create_srq(pd, attributes);
  }
  int destroy_srq(ibv_srq* srq) override { return inner_->destroy_srq(srq); }
  int post_srq_recv(ibv_srq* srq, ibv_recv_wr* list, ibv_recv_wr** bad) override {
    return starve ? 0 : inner_->post_srq_recv(srq, list, bad);
  }
  ibv_qp* create_qp(ibv_pd* pd, ibv_qp_init_attr* attributes) override;
  int modify_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask) override {
    return inner_->modify_qp(qp, attributes, mask);
  }
  int query_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask, ibv_qp_init_attr* init) override {
    return inner_->query_qp(qp, attributes, mask, init);
  }
  int destroy_qp(ibv_qp* qp) override;
  int post_send(ibv_qp* qp, ibv_send_wr* list, ibv_send_wr** bad) override {
    return inner_->post_send(qp, list, bad);
  }

 private:
  std::unique_ptr<Calls> inner_;
  std::vector<ibv_qp*> pairs_;
  std::set<ibv_mr*> open_;     ///< peers may write there
  std::set<ibv_mr*> revoked_;  ///< gone already; their owners do not know
};

}  // namespace shunt::verbs
