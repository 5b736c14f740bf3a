// A device in this process, for tests that must run where there is no RDMA, and for errors that a
// real device does not make on request. It checks what a real one checks: keys, bounds, domains,
// queue sizes, what may still be destroyed; and carries reliable connections between its own queue
// pairs, at once or when told to. The same tests run over a real device where there is one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/verbs/calls.h"

namespace shunt::verbs {

class Fake final : public Calls {
 public:
  Fake();
  ~Fake() override;

  // -- what tests set
  bool hold = false;                       ///< work requests wait for deliver()
  void deliver();                          ///< carries out what waits
  std::optional<ibv_wc_status> fail_next;  ///< the next work request carried out ends so
  std::uint32_t max_inline = 256;
  int max_cqe = 32767;
  std::uint16_t lid = 0;
  bool ethernet = true;
  ibv_mtu mtu = IBV_MTU_1024;
  std::vector<IpAddress> gids;  ///< each once as RoCE v1, then as v2; index 0 is link-local
  /// Sends the event to every open context.
  void set_port(bool up);
  void raise(ibv_event_type type, ibv_qp* pair = nullptr);
  void break_pair(std::uint32_t number);  ///< into the error state, as a device does it
  std::vector<std::uint32_t> pairs() const;
  /// Fails the n-th call from now that makes an object (0: the next), with ENOMEM.
  void fail_making(int in) { fail_making_in_ = in; }

  struct Seen {
    std::uint64_t posts = 0, requests = 0, signalled = 0, notifies = 0, events = 0;
  };
  Seen seen;

  ibv_device** get_device_list(int* count) override;
  void free_device_list(ibv_device** list) override;
  ibv_context* open_device(ibv_device* device) override;
  int close_device(ibv_context* context) override;
  int query_device(ibv_context* context, ibv_device_attr* attributes) override;
  int query_port(ibv_context* context, std::uint8_t port, ibv_port_attr* attributes) override;
  ssize_t query_gid_table(ibv_context* context, ibv_gid_entry* entries, std::size_t room) override;
  int get_async_event(ibv_context* context, ibv_async_event* event) override;
  void ack_async_event(ibv_async_event* event) override;
  ibv_pd* alloc_pd(ibv_context* context) override;
  int dealloc_pd(ibv_pd* pd) override;
  ibv_mr* reg_mr(ibv_pd* pd, void* address, std::size_t length, int access) override;
  ibv_mr* reg_mr_iova(ibv_pd* pd, void* address, std::size_t length, std::uint64_t iova,
                      int access) override;
  int dereg_mr(ibv_mr* mr) override;
  ibv_comp_channel* create_comp_channel(ibv_context* context) override;
  int destroy_comp_channel(ibv_comp_channel* channel) override;
  ibv_cq* create_cq(ibv_context* context, int entries, void* user, ibv_comp_channel* channel,
                    int vector) override;
  int destroy_cq(ibv_cq* cq) override;
  int req_notify_cq(ibv_cq* cq, int solicited_only) override;
  int get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** user) override;
  void ack_cq_events(ibv_cq* cq, unsigned count) override;
  int poll_cq(ibv_cq* cq, int room, ibv_wc* completions) override;
  ibv_srq* create_srq(ibv_pd* pd, ibv_srq_init_attr* attributes) override;
  int destroy_srq(ibv_srq* srq) override;
  int post_srq_recv(ibv_srq* srq, ibv_recv_wr* list, ibv_recv_wr** bad) override;
  ibv_qp* create_qp(ibv_pd* pd, ibv_qp_init_attr* attributes) override;
  int modify_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask) override;
  int query_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask, ibv_qp_init_attr* init) override;
  int destroy_qp(ibv_qp* qp) override;
  int post_send(ibv_qp* qp, ibv_send_wr* list, ibv_send_wr** bad) override;

 private:
  struct Context;
  struct Channel;
  struct Queue;
  struct Receives;
  struct Region;
  struct Request;
  struct Pair;

  bool refuse();
  void carry_out(Pair& pair, const Request& request);
  ibv_wc_status execute(Pair& pair, const Request& request);
  void complete(Queue& queue, const ibv_wc& completion, bool solicited);
  void to_error(Pair& pair);
  Region* find_region(std::uint32_t key, std::uint64_t address, std::size_t length);

  ibv_device device_{};
  bool port_up_ = true;
  int fail_making_in_ = -1;
  std::uint32_t next_number_ = 17;
  std::uint32_t next_key_ = 0x1000;
  std::map<std::uint32_t, Pair*> pairs_;
  std::map<std::uint32_t, Region*> regions_;  ///< by key
  std::map<ibv_pd*, int> domains_;            ///< what lies in them
  std::set<Context*> contexts_;
};

}  // namespace shunt::verbs
