#include "netstack/verbs/fake.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>

#include "netstack/base/unique_fd.h"

namespace shunt::verbs {

// Each object begins with the library's struct, so that a pointer to one is a pointer to the other.

struct Fake::Context : ibv_context {
  UniqueFd event;
  std::deque<ibv_async_event> events;
};

struct Fake::Channel : ibv_comp_channel {
  UniqueFd event;
  std::deque<Queue*> events;
  int queues = 0;
};

struct Fake::Queue : ibv_cq {
  std::size_t room = 0;
  std::deque<ibv_wc> completions;
  enum class Armed : std::uint8_t { kNo, kSolicited, kAny } armed = Armed::kNo;
  int users = 0;
};

struct Fake::Receives : ibv_srq {
  std::uint32_t room = 0;
  std::uint32_t posted = 0;
  int users = 0;
};

struct Fake::Region : ibv_mr {
  std::uint64_t iova = 0;
  int access = 0;
};

struct Fake::Request {
  std::uint64_t id = 0;
  ibv_wr_opcode opcode{};
  unsigned flags = 0;
  std::uint32_t immediate = 0;
  std::uint64_t remote = 0;
  std::uint32_t key = 0;
  ibv_sge from{};
  std::vector<std::byte> bytes;  ///< if inline
};

struct Fake::Pair : ibv_qp {
  ibv_qp_cap cap{};
  std::uint32_t peer = 0;
  std::uint8_t port = 0;
  unsigned access = 0;
  std::deque<Request> waiting;
  std::deque<std::uint64_t> in_queue;  ///< requests whose places are not free again
};

Fake::Fake() {
  std::snprintf(&device_.name[0], sizeof device_.name, "fake0");
  device_.transport_type = IBV_TRANSPORT_IB;
  device_.node_type = IBV_NODE_CA;
}

Fake::~Fake() = default;

bool Fake::refuse() {
  if (fail_making_in_ < 0 || fail_making_in_-- > 0) return false;
  errno = ENOMEM;
  return true;
}

// -- devices

ibv_device** Fake::get_device_list(int* count) {
  *count = 1;
  return new ibv_device* [2] { &device_, nullptr };
}

void Fake::free_device_list(ibv_device** list) { delete[] list; }

ibv_context* Fake::open_device(ibv_device* device) {
  if (refuse()) return nullptr;
  auto* const context = new Context{};
  context->device = device;
  context->event = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)};
  context->async_fd = context->event.get();
  contexts_.insert(context);
  return context;
}

int Fake::close_device(ibv_context* context) {
  contexts_.erase(static_cast<Context*>(context));
  delete static_cast<Context*>(context);
  return 0;
}

int Fake::query_device(ibv_context*, ibv_device_attr* attributes) {
  *attributes = {};
  attributes->phys_port_cnt = 1;
  attributes->max_qp_wr = 16384;
  attributes->max_cqe = max_cqe;
  attributes->max_srq_wr = 16384;
  return 0;
}

int Fake::query_port(ibv_context*, std::uint8_t port, ibv_port_attr* attributes) {
  if (port != 1) return errno = EINVAL;
  *attributes = {};
  attributes->state = port_up_ ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
  attributes->link_layer = ethernet ? IBV_LINK_LAYER_ETHERNET : IBV_LINK_LAYER_INFINIBAND;
  attributes->active_mtu = mtu;
  attributes->max_mtu = IBV_MTU_4096;
  attributes->lid = lid;
  return 0;
}

ssize_t Fake::query_gid_table(ibv_context*, ibv_gid_entry* entries, std::size_t room) {
  std::size_t count = 0;
  const auto add = [&](const IpAddress& address, std::uint32_t type) {
    if (count == room) return;
    ibv_gid_entry& entry = entries[count];
    entry = {};
    std::memcpy(entry.gid.raw, address.data(), address.size());
    entry.gid_index = static_cast<std::uint32_t>(count++);
    entry.port_num = 1;
    entry.gid_type = type;
  };
  IpAddress local{0xfe, 0x80};
  local[15] = 1;
  add(local, ethernet ? IBV_GID_TYPE_ROCE_V2 : IBV_GID_TYPE_IB);
  for (const IpAddress& gid : gids) {
    add(gid, IBV_GID_TYPE_ROCE_V1);
    add(gid, IBV_GID_TYPE_ROCE_V2);
  }
  return static_cast<ssize_t>(count);
}

void Fake::set_port(bool up) {
  port_up_ = up;
  raise(up ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR);
}

void Fake::raise(ibv_event_type type, ibv_qp* pair) {
  ibv_async_event event{};
  event.event_type = type;
  if (pair != nullptr) {
    event.element.qp = pair;
  } else {
    event.element.port_num = 1;
  }
  for (Context* const context : contexts_) {
    if (pair != nullptr && pair->context != context) continue;
    context->events.push_back(event);
    (void)::eventfd_write(context->async_fd, 1);
  }
}

int Fake::get_async_event(ibv_context* context, ibv_async_event* event) {
  auto* const own = static_cast<Context*>(context);
  eventfd_t one = 0;
  if (::eventfd_read(own->async_fd, &one) != 0) return -1;
  *event = own->events.front();
  own->events.pop_front();
  return 0;
}

void Fake::ack_async_event(ibv_async_event*) {}

// -- memory

ibv_pd* Fake::alloc_pd(ibv_context* context) {
  if (refuse()) return nullptr;
  auto* const pd = new ibv_pd{};
  pd->context = context;
  domains_[pd] = 0;
  return pd;
}

int Fake::dealloc_pd(ibv_pd* pd) {
  if (domains_.at(pd) != 0) return EBUSY;
  domains_.erase(pd);
  delete pd;
  return 0;
}

ibv_mr* Fake::reg_mr(ibv_pd* pd, void* address, std::size_t length, int access) {
  return reg_mr_iova(pd, address, length, reinterpret_cast<std::uintptr_t>(address), access);
}

ibv_mr* Fake::reg_mr_iova(ibv_pd* pd, void* address, std::size_t length, std::uint64_t iova,
                          int access) {
  if (refuse()) return nullptr;
  auto* const region = new Region{};
  region->context = pd->context;
  region->pd = pd;
  region->addr = address;
  region->length = length;
  region->lkey = region->rkey = next_key_ += 0x101;
  region->iova = iova;
  region->access = access;
  regions_[region->rkey] = region;
  ++domains_.at(pd);
  return region;
}

int Fake::dereg_mr(ibv_mr* mr) {
  std::erase_if(regions_, [&](const auto& each) { return each.second == mr; });
  --domains_.at(mr->pd);
  delete static_cast<Region*>(mr);
  return 0;
}

Fake::Region* Fake::find_region(std::uint32_t key, std::uint64_t address, std::size_t length) {
  const auto found = regions_.find(key);
  if (found == regions_.end()) return nullptr;
  Region* const region = found->second;
  const std::uint64_t at = address - region->iova;
  if (address < region->iova || at > region->length || length > region->length - at) return nullptr;
  return region;
}

// -- completions

ibv_comp_channel* Fake::create_comp_channel(ibv_context* context) {
  if (refuse()) return nullptr;
  auto* const channel = new Channel{};
  channel->context = context;
  channel->event = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)};
  channel->fd = channel->event.get();
  return channel;
}

int Fake::destroy_comp_channel(ibv_comp_channel* channel) {
  if (static_cast<Channel*>(channel)->queues != 0) return EBUSY;
  delete static_cast<Channel*>(channel);
  return 0;
}

ibv_cq* Fake::create_cq(ibv_context* context, int entries, void* user, ibv_comp_channel* channel,
                        int) {
  if (refuse()) return nullptr;
  if (entries <= 0 || entries > max_cqe) {
    errno = EINVAL;
    return nullptr;
  }
  auto* const queue = new Queue{};
  queue->context = context;
  queue->channel = channel;
  queue->cq_context = user;
  queue->cqe = entries;
  queue->room = static_cast<std::size_t>(entries);
  ++static_cast<Channel*>(channel)->queues;
  return queue;
}

int Fake::destroy_cq(ibv_cq* cq) {
  auto* const queue = static_cast<Queue*>(cq);
  if (queue->users != 0) return EBUSY;
  auto* const channel = static_cast<Channel*>(queue->channel);
  std::erase(channel->events, queue);
  --channel->queues;
  delete queue;
  return 0;
}

int Fake::req_notify_cq(ibv_cq* cq, int solicited_only) {
  auto* const queue = static_cast<Queue*>(cq);
  ++seen.notifies;
  if (queue->armed != Queue::Armed::kAny)
    queue->armed = solicited_only != 0 ? Queue::Armed::kSolicited : Queue::Armed::kAny;
  return 0;
}

int Fake::get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** user) {
  auto* const own = static_cast<Channel*>(channel);
  eventfd_t one = 0;
  if (::eventfd_read(own->fd, &one) != 0) return -1;
  if (own->events.empty()) return -1;  // of a queue that is no more
  *cq = own->events.front();
  *user = (*cq)->cq_context;
  own->events.pop_front();
  return 0;
}

void Fake::ack_cq_events(ibv_cq*, unsigned) {}

void Fake::complete(Queue& queue, const ibv_wc& completion, bool solicited) {
  if (queue.completions.size() >= queue.room) return raise(IBV_EVENT_CQ_ERR);
  queue.completions.push_back(completion);
  const bool notify =
      queue.armed == Queue::Armed::kAny || (queue.armed == Queue::Armed::kSolicited && solicited);
  if (!notify) return;
  queue.armed = Queue::Armed::kNo;
  auto* const channel = static_cast<Channel*>(queue.channel);
  channel->events.push_back(&queue);
  ++seen.events;
  (void)::eventfd_write(channel->fd, 1);
}

int Fake::poll_cq(ibv_cq* cq, int room, ibv_wc* completions) {
  auto* const queue = static_cast<Queue*>(cq);
  int count = 0;
  for (; count < room && !queue->completions.empty(); ++count) {
    completions[count] = queue->completions.front();
    queue->completions.pop_front();
    const ibv_wc& taken = completions[count];
    const auto pair = pairs_.find(taken.qp_num);
    if (pair == pairs_.end() || (taken.opcode & IBV_WC_RECV) != 0) continue;
    // Places of the queue are free once a completion after them has been seen.
    auto& places = pair->second->in_queue;
    while (!places.empty() && places.front() <= taken.wr_id) places.pop_front();
  }
  return count;
}

// -- receives

ibv_srq* Fake::create_srq(ibv_pd* pd, ibv_srq_init_attr* attributes) {
  if (refuse()) return nullptr;
  auto* const srq = new Receives{};
  srq->context = pd->context;
  srq->pd = pd;
  srq->room = attributes->attr.max_wr;
  ++domains_.at(pd);
  return srq;
}

int Fake::destroy_srq(ibv_srq* srq) {
  if (static_cast<Receives*>(srq)->users != 0) return EBUSY;
  --domains_.at(srq->pd);
  delete static_cast<Receives*>(srq);
  return 0;
}

int Fake::post_srq_recv(ibv_srq* srq, ibv_recv_wr* list, ibv_recv_wr** bad) {
  auto* const own = static_cast<Receives*>(srq);
  for (; list != nullptr; list = list->next) {
    if (own->posted == own->room) {
      *bad = list;
      return ENOMEM;
    }
    ++own->posted;
  }
  return 0;
}

// -- queue pairs

ibv_qp* Fake::create_qp(ibv_pd* pd, ibv_qp_init_attr* attributes) {
  if (refuse()) return nullptr;
  if (attributes->cap.max_inline_data > max_inline) {
    errno = EINVAL;
    return nullptr;
  }
  auto* const pair = new Pair{};
  pair->context = pd->context;
  pair->pd = pd;
  pair->send_cq = attributes->send_cq;
  pair->recv_cq = attributes->recv_cq;
  pair->srq = attributes->srq;
  pair->qp_type = attributes->qp_type;
  pair->qp_num = next_number_++;
  pair->state = IBV_QPS_RESET;
  pair->cap = attributes->cap;
  attributes->cap.max_inline_data = max_inline;
  pairs_[pair->qp_num] = pair;
  ++domains_.at(pd);
  ++static_cast<Queue*>(pair->send_cq)->users;
  ++static_cast<Queue*>(pair->recv_cq)->users;
  ++static_cast<Receives*>(pair->srq)->users;
  return pair;
}

int Fake::modify_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask) {
  auto* const pair = static_cast<Pair*>(qp);
  if ((mask & IBV_QP_STATE) == 0) return errno = EINVAL;
  const auto need = [&](ibv_qp_state from, int bits) {
    return pair->state == from && (mask & bits) == bits;
  };
  switch (attributes->qp_state) {
    case IBV_QPS_INIT:
      if (!need(IBV_QPS_RESET, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
        return errno = EINVAL;
      pair->port = attributes->port_num;
      pair->access = attributes->qp_access_flags;
      break;
    case IBV_QPS_RTR:
      if (!need(IBV_QPS_INIT, IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
        return errno = EINVAL;
      if (attributes->ah_attr.grh.hop_limit < 64 || attributes->path_mtu > mtu)
        return errno = EINVAL;
      pair->peer = attributes->dest_qp_num;
      break;
    case IBV_QPS_RTS:
      if (!need(IBV_QPS_RTR, IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                                 IBV_QP_MAX_QP_RD_ATOMIC))
        return errno = EINVAL;
      if (attributes->retry_cnt > 6 || attributes->rnr_retry > 6) return errno = EINVAL;
      break;
    case IBV_QPS_ERR:
      to_error(*pair);
      return 0;
    default:
      return errno = EINVAL;
  }
  pair->state = attributes->qp_state;
  return 0;
}

int Fake::query_qp(ibv_qp* qp, ibv_qp_attr* attributes, int, ibv_qp_init_attr*) {
  attributes->qp_state = qp->state;
  return 0;
}

int Fake::destroy_qp(ibv_qp* qp) {
  auto* const pair = static_cast<Pair*>(qp);
  pairs_.erase(pair->qp_num);
  --domains_.at(pair->pd);
  --static_cast<Queue*>(pair->send_cq)->users;
  --static_cast<Queue*>(pair->recv_cq)->users;
  --static_cast<Receives*>(pair->srq)->users;
  delete pair;
  return 0;
}

std::vector<std::uint32_t> Fake::pairs() const {
  std::vector<std::uint32_t> numbers;
  for (const auto& [number, pair] : pairs_) numbers.push_back(number);
  return numbers;
}

void Fake::break_pair(std::uint32_t number) {
  Pair* const pair = pairs_.at(number);
  to_error(*pair);
  raise(IBV_EVENT_QP_FATAL, pair);
}

void Fake::to_error(Pair& pair) {
  pair.state = IBV_QPS_ERR;
  for (const Request& request : std::exchange(pair.waiting, {})) carry_out(pair, request);
}

int Fake::post_send(ibv_qp* qp, ibv_send_wr* list, ibv_send_wr** bad) {
  auto* const pair = static_cast<Pair*>(qp);
  ++seen.posts;
  for (; list != nullptr; list = list->next) {
    *bad = list;
    if (pair->state != IBV_QPS_RTS && pair->state != IBV_QPS_ERR) return EINVAL;
    if (pair->in_queue.size() >= pair->cap.max_send_wr) return ENOMEM;
    Request request;
    request.id = list->wr_id;
    request.opcode = list->opcode;
    request.flags = list->send_flags;
    request.immediate = list->imm_data;
    request.remote = list->wr.rdma.remote_addr;
    request.key = list->wr.rdma.rkey;
    if (list->num_sge > 1) return EINVAL;
    if (list->num_sge == 1) request.from = *list->sg_list;
    if ((request.flags & IBV_SEND_INLINE) != 0) {
      if (request.from.length > pair->cap.max_inline_data) return EINVAL;
      const auto* const bytes = std::bit_cast<const std::byte*>(request.from.addr);
      request.bytes.assign(bytes, bytes + request.from.length);
    }
    ++seen.requests;
    if ((request.flags & IBV_SEND_SIGNALED) != 0) ++seen.signalled;
    pair->in_queue.push_back(request.id);
    if (hold && pair->state == IBV_QPS_RTS) {
      pair->waiting.push_back(std::move(request));
    } else {
      carry_out(*pair, request);
    }
  }
  *bad = nullptr;
  return 0;
}

void Fake::deliver() {
  for (const std::uint32_t number : pairs()) {
    const auto found = pairs_.find(number);
    if (found == pairs_.end()) continue;
    for (const Request& request : std::exchange(found->second->waiting, {}))
      carry_out(*found->second, request);
  }
}

void Fake::carry_out(Pair& pair, const Request& request) {
  const ibv_wc_status status =
      pair.state == IBV_QPS_ERR ? IBV_WC_WR_FLUSH_ERR : execute(pair, request);
  if (status == IBV_WC_SUCCESS && (request.flags & IBV_SEND_SIGNALED) == 0) return;
  ibv_wc completion{};
  completion.wr_id = request.id;
  completion.status = status;
  completion.qp_num = pair.qp_num;
  completion.opcode = IBV_WC_RDMA_WRITE;
  complete(*static_cast<Queue*>(pair.send_cq), completion, false);
  if (status != IBV_WC_SUCCESS && pair.state != IBV_QPS_ERR) to_error(pair);
}

ibv_wc_status Fake::execute(Pair& pair, const Request& request) {
  if (fail_next) {
    const ibv_wc_status status = *fail_next;
    fail_next.reset();
    return status;
  }
  const std::byte* source = request.bytes.data();
  const std::size_t length = request.from.length;
  if ((request.flags & IBV_SEND_INLINE) == 0 && length > 0) {
    const Region* const local = find_region(request.from.lkey, request.from.addr, length);
    if (local == nullptr || local->pd != pair.pd) return IBV_WC_LOC_PROT_ERR;
    source = static_cast<const std::byte*>(local->addr) + (request.from.addr - local->iova);
  }
  const auto found = pairs_.find(pair.peer);
  if (!port_up_ || found == pairs_.end()) return IBV_WC_RETRY_EXC_ERR;
  Pair& peer = *found->second;
  if ((peer.state != IBV_QPS_RTR && peer.state != IBV_QPS_RTS) || peer.peer != pair.qp_num)
    return IBV_WC_RETRY_EXC_ERR;
  if (length > 0) {
    Region* const remote = find_region(request.key, request.remote, length);
    if (remote == nullptr || remote->pd != peer.pd ||
        (remote->access & IBV_ACCESS_REMOTE_WRITE) == 0 ||
        (peer.access & IBV_ACCESS_REMOTE_WRITE) == 0) {
      to_error(peer);
      return IBV_WC_REM_ACCESS_ERR;
    }
    std::memcpy(static_cast<std::byte*>(remote->addr) + (request.remote - remote->iova), source,
                length);
  }
  if (request.opcode != IBV_WR_RDMA_WRITE_WITH_IMM) return IBV_WC_SUCCESS;
  auto* const receives = static_cast<Receives*>(peer.srq);
  if (receives->posted == 0) return IBV_WC_RNR_RETRY_EXC_ERR;
  --receives->posted;
  ibv_wc completion{};
  completion.status = IBV_WC_SUCCESS;
  completion.opcode = IBV_WC_RECV_RDMA_WITH_IMM;
  completion.byte_len = static_cast<std::uint32_t>(length);
  completion.imm_data = request.immediate;
  completion.wc_flags = IBV_WC_WITH_IMM;
  completion.qp_num = peer.qp_num;
  complete(*static_cast<Queue*>(peer.recv_cq), completion,
           (request.flags & IBV_SEND_SOLICITED) != 0);
  return IBV_WC_SUCCESS;
}

}  // namespace shunt::verbs
