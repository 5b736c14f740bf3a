// The functions of libibverbs that we use, as one table: the real library is loaded when a shim is
// configured for verbs and not before (load_library), and tests run over a small device of their
// own (fake.h).
//
// Names, arguments, return values and errno are those of the library (ibv_create_qp is create_qp);
// the comments in rdma-core's man pages hold. Called on the fabric thread only.
#pragma once

#include <infiniband/verbs.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "netstack/base/result.h"

namespace shunt::verbs {

class Calls {
 public:
  virtual ~Calls() = default;

  virtual ibv_device** get_device_list(int* count) = 0;
  virtual void free_device_list(ibv_device** list) = 0;
  virtual ibv_context* open_device(ibv_device* device) = 0;
  virtual int close_device(ibv_context* context) = 0;
  virtual int query_device(ibv_context* context, ibv_device_attr* attributes) = 0;
  virtual int query_port(ibv_context* context, std::uint8_t port, ibv_port_attr* attributes) = 0;
  virtual ssize_t query_gid_table(ibv_context* context, ibv_gid_entry* entries,
                                  std::size_t room) = 0;
  virtual int get_async_event(ibv_context* context, ibv_async_event* event) = 0;
  virtual void ack_async_event(ibv_async_event* event) = 0;

  virtual ibv_pd* alloc_pd(ibv_context* context) = 0;
  virtual int dealloc_pd(ibv_pd* pd) = 0;
  virtual ibv_mr* reg_mr(ibv_pd* pd, void* address, std::size_t length, int access) = 0;
  /// For the peer the first byte has the address `iova`.
  virtual ibv_mr* reg_mr_iova(ibv_pd* pd, void* address, std::size_t length, std::uint64_t iova,
                              int access) = 0;
  virtual int dereg_mr(ibv_mr* mr) = 0;

  virtual ibv_comp_channel* create_comp_channel(ibv_context* context) = 0;
  virtual int destroy_comp_channel(ibv_comp_channel* channel) = 0;
  virtual ibv_cq* create_cq(ibv_context* context, int entries, void* user,
                            ibv_comp_channel* channel, int vector) = 0;
  virtual int destroy_cq(ibv_cq* cq) = 0;
  virtual int req_notify_cq(ibv_cq* cq, int solicited_only) = 0;
  virtual int get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** user) = 0;
  virtual void ack_cq_events(ibv_cq* cq, unsigned count) = 0;
  virtual int poll_cq(ibv_cq* cq, int room, ibv_wc* completions) = 0;

  virtual ibv_srq* create_srq(ibv_pd* pd, ibv_srq_init_attr* attributes) = 0;
  virtual int destroy_srq(ibv_srq* srq) = 0;
  virtual int post_srq_recv(ibv_srq* srq, ibv_recv_wr* list, ibv_recv_wr** bad) = 0;

  virtual ibv_qp* create_qp(ibv_pd* pd, ibv_qp_init_attr* attributes) = 0;
  virtual int modify_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask) = 0;
  virtual int query_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask, ibv_qp_init_attr* init) = 0;
  virtual int destroy_qp(ibv_qp* qp) = 0;
  virtual int post_send(ibv_qp* qp, ibv_send_wr* list, ibv_send_wr** bad) = 0;

  /// Objects that exist now: everything of owned.h counts itself here. 0 when all is torn down.
  int live = 0;
};

/// libibverbs.so.1 and its providers, loaded now. ENOENT: not installed; ENOSYS: too old. Costs
/// about 1 MiB of memory, which is why hosts without RDMA never come here (see has_device).
/// The table must outlive everything made with it.
Result<std::unique_ptr<Calls>> load_library();

/// Whether this kernel knows an RDMA device, without loading the library: /sys/class/infiniband.
bool has_device();

}  // namespace shunt::verbs
