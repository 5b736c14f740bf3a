#include "netstack/verbs/mover.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace shunt::verbs {
namespace {

constexpr std::uint32_t kRepost = 32;          // receives posted again at once
constexpr std::uint32_t kSlack = 2 * kRepost;  // more than may be consumed and told, not yet posted

std::uint32_t slab_of(std::uint32_t offset) { return offset & ~(kSlab - 1); }

/// Every provider sets errno as well as returning it, or returns -1 and sets it.
Error failure(int returned, const char* where) {
  return {returned > 0 ? returned : (errno != 0 ? errno : EIO), where};
}

}  // namespace

std::chrono::nanoseconds Tuning::patience() const {
  constexpr std::chrono::nanoseconds kUnit{4096};
  return (retries + 1) * kUnit * (std::int64_t{1} << timeout);
}

Tuning Tuning::bearing(std::chrono::milliseconds silence) {
  constexpr std::uint8_t kLongest = 31;  // five bits
  Tuning tuning;
  tuning.timeout = 1;
  while (tuning.timeout < kLongest) {
    Tuning longer = tuning;
    ++longer.timeout;
    if (longer.patience() > silence) break;
    tuning = longer;
  }
  return tuning;
}

VerbsMover::VerbsMover(Device& device, const LinkLimits& limits, Budget& own, Budget& mirrors)
    : device_{device},
      calls_{device.calls()},
      limits_{limits},
      own_{calls_, Memory::Use::kPeerWrites, own},
      messages_{calls_, Memory::Use::kPeerWrites, own},
      message_mirror_{calls_, Memory::Use::kWeSend, mirrors},
      mirror_budget_{mirrors} {}

VerbsMover::~VerbsMover() = default;  // queue pairs go first: after that nothing touches the memory

Result<std::unique_ptr<VerbsMover>> VerbsMover::make(Device& device, const LinkLimits& limits,
                                                     Budget& own, Budget& mirrors) {
  std::unique_ptr<VerbsMover> mover{new VerbsMover{device, limits, own, mirrors}};
  if (const Status made = mover->make_queues(); !made) return made.error();
  if (const Status made = mover->make_memory(); !made) return made.error();
  for (unsigned lane = 0; lane < mover->limits_.lanes; ++lane) {
    auto pair = mover->make_pair();
    if (!pair) return pair.error();
    LaneTerms numbers{(*pair)->qp_num, 0};
    if (::getrandom(&numbers.packet, 3, 0) != 3) return last_error("getrandom");
    mover->lane_by_number_.emplace(numbers.number, lane);
    mover->numbers_.push_back(numbers);
    mover->pairs_.push_back(std::move(*pair));
  }
  return mover;
}

Status VerbsMover::make_queues() {
  const ibv_device_attr& device = device_.limits();
  const auto at_most = [](std::uint32_t wish, int limit) {
    return std::min(wish, static_cast<std::uint32_t>(std::max(limit, 0)));
  };
  limits_.depth = at_most(limits_.depth, device.max_qp_wr);
  limits_.depth = at_most(limits_.depth, device.max_cqe / static_cast<int>(limits_.lanes));
  const int receives = std::min(device.max_srq_wr, device.max_cqe) - static_cast<int>(kSlack);
  limits_.credits = static_cast<std::uint16_t>(
      at_most(limits_.credits, receives / static_cast<int>(limits_.lanes)));
  if (limits_.depth < 2 * Lane::kSignalEvery || limits_.credits < 16)
    return Error{ENOSPC, "device limits"};

  domain_ = OwnedDomain{calls_, calls_.alloc_pd(device_.context())};
  if (!domain_) return last_error("ibv_alloc_pd");
  channel_ = OwnedChannel{calls_, calls_.create_comp_channel(device_.context())};
  if (!channel_) return last_error("ibv_create_comp_channel");
  if (const Status set = set_nonblocking(channel_->fd); !set) return set;

  const auto queue = [&](std::uint32_t entries) {
    return OwnedCompletions{calls_, calls_.create_cq(device_.context(), static_cast<int>(entries),
                                                     nullptr, channel_.get(), 0)};
  };
  const std::uint32_t shared = limits_.lanes * limits_.credits + kSlack;
  sends_ = queue(limits_.lanes * limits_.depth);
  receives_ = queue(shared);
  if (!sends_ || !receives_) return last_error("ibv_create_cq");
  ibv_srq_init_attr attributes{};
  attributes.attr.max_wr = shared;
  attributes.attr.max_sge = 1;
  shared_ = OwnedReceives{calls_, calls_.create_srq(domain_.get(), &attributes)};
  if (!shared_) return last_error("ibv_create_srq");
  if (const Status posted = post_receives(shared); !posted) return posted;

  events_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
  failed_event_ = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!events_.valid() || !failed_event_.valid()) return last_error("epoll_create1");
  for (const int fd : {channel_->fd, failed_event_.get()}) {
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (::epoll_ctl(events_.get(), EPOLL_CTL_ADD, fd, &interest) != 0)
      return last_error("epoll_ctl");
  }
  return Done{};
}

Status VerbsMover::make_memory() {
  const std::size_t rings = std::size_t{limits_.lanes} * limits_.ring;
  for (Memory* const memory : {&messages_, &message_mirror_}) {
    if (const Status set = memory->reserve(domain_.get(), rings, rings); !set) return set;
    if (const Status added = memory->add(0); !added) return added;
  }
  return own_.reserve(domain_.get(), limits_.region, kSlab);
}

Result<OwnedPair> VerbsMover::make_pair() {
  ibv_qp_init_attr attributes{};
  attributes.send_cq = sends_.get();
  attributes.recv_cq = receives_.get();
  attributes.srq = shared_.get();
  attributes.qp_type = IBV_QPT_RC;
  OwnedPair pair;
  for (;;) {
    attributes.cap = {};
    attributes.cap.max_send_wr = limits_.depth;
    attributes.cap.max_send_sge = 1;
    attributes.cap.max_inline_data = limits_.inline_size;
    pair = OwnedPair{calls_, calls_.create_qp(domain_.get(), &attributes)};
    if (pair || limits_.inline_size == 0) break;
    // A device refuses more inline space than it has; how much that is, is not told beforehand.
    limits_.inline_size = limits_.inline_size >= 32 ? limits_.inline_size / 2 : 0;
  }
  if (!pair) return last_error("ibv_create_qp");
  limits_.inline_size = std::min(limits_.inline_size, attributes.cap.max_inline_data);
  if (const Status set = to_init(pair.get()); !set) return set.error();
  return pair;
}

Status VerbsMover::to_init(ibv_qp* pair) const {
  ibv_qp_attr to{};
  to.qp_state = IBV_QPS_INIT;
  to.port_num = device_.port();
  to.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
  const int error = calls_.modify_qp(
      pair, &to, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error != 0) return failure(error, "ibv_modify_qp INIT");
  return Done{};
}

Status VerbsMover::to_ready(ibv_qp* pair, const LaneTerms& ours, const LaneTerms& theirs,
                            const GidPair& gids, const Terms& peer, const Tuning& tuning) const {
  const auto port = device_.port_state();
  if (!port) return port.error();
  ibv_qp_attr to{};
  to.qp_state = IBV_QPS_RTR;
  to.path_mtu = static_cast<ibv_mtu>(std::min<int>(port->active_mtu, peer.mtu));
  to.dest_qp_num = theirs.number;
  to.rq_psn = theirs.packet;
  to.max_dest_rd_atomic = 1;
  to.min_rnr_timer = 12;  // 0.64 ms
  to.ah_attr.is_global = 1;
  to.ah_attr.dlid = peer.lid;
  to.ah_attr.port_num = device_.port();
  to.ah_attr.grh.sgid_index = gids.ours.index;
  to.ah_attr.grh.hop_limit = tuning.hop_limit;
  to.ah_attr.grh.traffic_class = tuning.traffic_class;
  std::memcpy(to.ah_attr.grh.dgid.raw, gids.theirs.data(), gids.theirs.size());
  int error =
      calls_.modify_qp(pair, &to,
                       IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                           IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  if (error != 0) return failure(error, "ibv_modify_qp RTR");
  to = {};
  to.qp_state = IBV_QPS_RTS;
  to.timeout = tuning.timeout;
  to.retry_cnt = tuning.retries;
  to.rnr_retry = tuning.rnr_retries;
  to.sq_psn = ours.packet;
  to.max_rd_atomic = 1;
  error = calls_.modify_qp(pair, &to,
                           IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                               IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  if (error != 0) return failure(error, "ibv_modify_qp RTS");
  return Done{};
}

Result<Terms> VerbsMover::terms(const GidPair& gids) const {
  const auto port = device_.port_state();
  if (!port) return port.error();
  Terms terms;
  terms.gid = gids.ours.address;
  terms.peer_gid = gids.theirs;
  terms.lid = port->lid;
  terms.mtu = static_cast<std::uint8_t>(port->active_mtu);
  terms.messages = messages_.remote_key(0);
  terms.ring = limits_.ring;
  terms.credits = limits_.credits;
  terms.lanes = numbers_;
  return terms;
}

Status VerbsMover::connect(const GidPair& gids, const Terms& peer, std::uint32_t peer_region,
                           const Tuning& tuning) {
  if (peer.lanes.size() != pairs_.size() || peer.ring != limits_.ring)
    return Error{EPROTO, "verbs terms"};
  mirror_ = std::make_unique<Memory>(calls_, Memory::Use::kWeSend, mirror_budget_);
  if (const Status set = mirror_->reserve(domain_.get(), peer_region, kSlab); !set) return set;
  for (unsigned lane = 0; lane < pairs_.size(); ++lane) {
    const Status ready =
        to_ready(pairs_[lane].get(), numbers_[lane], peer.lanes[lane], gids, peer, tuning);
    if (!ready) return ready;
    const std::size_t at = std::size_t{lane} * limits_.ring;
    Lane::Rings rings;
    rings.size = limits_.ring;
    rings.batch = limits_.ring / 4;
    rings.own = messages_.bytes().subspan(at, limits_.ring);
    rings.mirror = message_mirror_.bytes().subspan(at, limits_.ring);
    rings.mirror_key = message_mirror_.local_key(0);
    rings.address = static_cast<std::uint32_t>(at);
    rings.key = peer.messages;
    rings.credits = peer.credits;
    rings.own_credits = limits_.credits;
    lanes_.emplace_back(calls_, pairs_[lane].get(), limits_.depth, limits_.inline_size, rings,
                        counters_);
  }
  shape_.own = limits_.region;
  shape_.peer = peer_region;
  shape_.slab = kSlab;
  shape_.lanes = limits_.lanes;
  shape_.batch = limits_.ring / 4;
  shape_.burst = 512u << 10;  // 40 us at 100 Gb/s; each flush is a completion at the peer
  return Done{};
}

bool VerbsMover::owns(const ibv_qp* pair) const {
  return std::any_of(pairs_.begin(), pairs_.end(),
                     [&](const OwnedPair& own) { return own.get() == pair; });
}

void VerbsMover::fail(Error error) {
  if (failed_.where != nullptr) return;
  failed_ = error;
  ibv_qp_attr to{};
  to.qp_state = IBV_QPS_ERR;
  for (const OwnedPair& pair : pairs_)  // nothing more is read or written for this link
    (void)calls_.modify_qp(pair.get(), &to, IBV_QP_STATE);
  (void)::eventfd_write(failed_event_.get(), 1);
}

// -- memory

std::span<std::byte> VerbsMover::writable(ring::Extent part) {
  return own_.bytes().subspan(part.offset, part.size);
}

Result<std::uint32_t> VerbsMover::commit(std::uint32_t slab_offset) {
  if (const Status added = own_.add(slab_offset); !added) return added.error();
  return own_.remote_key(slab_offset);
}

void VerbsMover::release(std::uint32_t slab_offset) { own_.remove(slab_offset); }

Status VerbsMover::adopt(ring::Extent ring, std::uint32_t key) {
  const std::uint32_t slab = slab_of(ring.offset);
  const auto known = adopted_.find(slab);
  if (known != adopted_.end() && known->second.rings > 0) {
    if (known->second.key != key) return Error{EPROTO, "key of a ring"};
    ++known->second.rings;
    return Done{};
  }
  if (known == adopted_.end()) {
    if (const Status added = mirror_->add(slab); !added) return added;
  }
  Adopted& adopted = adopted_[slab];
  adopted.key = key;
  adopted.rings = 1;
  return Done{};
}

void VerbsMover::drop(ring::Extent ring) {
  const auto found = adopted_.find(slab_of(ring.offset));
  if (found == adopted_.end() || found->second.rings == 0) return;
  if (--found->second.rings > 0) return;
  // The device may still read the mirror: writes are under way, or the acknowledgement of one is
  // lost and it is made again.
  found->second.until.clear();
  for (Lane& lane : lanes_) {
    found->second.until.push_back(lane.next());
    if (lane.done() < lane.next()) lane.ask_completion();
  }
  retiring_ = true;
}

void VerbsMover::retire_mirrors() {
  if (!retiring_) return;
  retiring_ = false;
  for (auto each = adopted_.begin(); each != adopted_.end();) {
    const Adopted& adopted = each->second;
    bool over = adopted.rings == 0;
    for (std::size_t lane = 0; over && lane < lanes_.size(); ++lane)
      over = lanes_[lane].done() >= adopted.until[lane];
    if (over) {
      mirror_->remove(each->first);
      each = adopted_.erase(each);
    } else {
      retiring_ = retiring_ || adopted.rings == 0;
      ++each;
    }
  }
}

std::span<std::byte> VerbsMover::stage(ring::Extent part) {
  return mirror_->bytes().subspan(part.offset, part.size);
}

// -- sending

ring::Mover::Room VerbsMover::room(unsigned lane) const {
  return {lanes_[lane].room_bytes(), lanes_[lane].room_calls()};
}

void VerbsMover::push(unsigned lane, ring::Extent part) {
  const std::uint32_t slab = slab_of(part.offset);
  lanes_[lane].write(stage(part), mirror_->local_key(slab), part.offset, adopted_.at(slab).key);
}

void VerbsMover::publish(unsigned lane, std::span<const std::byte> records, bool wake) {
  lanes_[lane].publish(records, wake);
}

Status VerbsMover::flush() {
  if (failed_.where != nullptr) return failed_;
  for (Lane& lane : lanes_) {
    if (const Status posted = lane.post(); !posted) {
      fail(posted.error());
      return failed_;
    }
  }
  return Done{};
}

void VerbsMover::must_arrive() {
  for (Lane& lane : lanes_) lane.must_be_done();
}

bool VerbsMover::arrived() {
  bool all = true;
  for (Lane& lane : lanes_) {
    if (failed_.where != nullptr) return true;  // or never
    const auto done = lane.is_done();
    if (!done) fail(done.error());
    all = all && done && *done;
  }
  return all;
}

// -- receiving

Status VerbsMover::post_receives(std::uint32_t count) {
  std::array<ibv_recv_wr, kRepost> list{};  // without a buffer: only immediates arrive
  while (count > 0) {
    const std::uint32_t now = std::min(count, kRepost);
    for (std::uint32_t i = 0; i < now; ++i) list[i].next = i + 1 < now ? &list[i + 1] : nullptr;
    ibv_recv_wr* bad = nullptr;
    const int error = calls_.post_srq_recv(shared_.get(), list.data(), &bad);
    if (error != 0) return failure(error, "ibv_post_srq_recv");
    count -= now;
  }
  return Done{};
}

bool VerbsMover::poll(ibv_cq* queue) {
  constexpr std::size_t kAtOnce = 32;
  const std::size_t before = seen_.size();
  seen_.resize(before + kAtOnce);
  const int got = calls_.poll_cq(queue, kAtOnce, &seen_[before]);
  seen_.resize(before + static_cast<std::size_t>(std::max(got, 0)));
  if (got < 0) fail({EIO, "ibv_poll_cq"});
  return got == static_cast<int>(kAtOnce);
}

Result<bool> VerbsMover::receive(ring::Mover::Receiver& receiver) {
  bool any = false;
  const std::size_t most = std::size_t{limits_.lanes} * limits_.credits;
  // Queue pairs in error take in nothing more, and what they took in before is still said.
  for (std::size_t handled = 0; handled <= most || failed_.where != nullptr;) {
    poll(sends_.get());
    poll(receives_.get());
    if (seen_.empty()) break;
    any = true;
    handled += seen_.size();
    // In place: the receiver may queue sends, but does not poll.
    for (const ibv_wc& completion : seen_) take(completion, receiver);
    seen_.clear();
  }
  if (failed_.where != nullptr) return failed_;
  if (to_repost_ > 0) {
    const Status posted = post_receives(std::exchange(to_repost_, 0));
    if (!posted) fail(posted.error());
  }
  for (Lane& lane : lanes_) {
    if (!lane.confirm_if_due()) continue;
    if (const Status posted = lane.post(); !posted) fail(posted.error());
  }
  retire_mirrors();
  if (failed_.where != nullptr) return failed_;
  return any;
}

void VerbsMover::take(const ibv_wc& completion, ring::Mover::Receiver& receiver) {
  ++counters_.completions;
  if (completion.status != IBV_WC_SUCCESS) return take_failed(completion);
  if (completion.opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
    if (garbled_) return;
    if (const Status taken = take_message(completion, receiver); !taken) {
      garbled_ = true;
      fail(taken.error());
    }
    return;
  }
  const auto found = lane_by_number_.find(completion.qp_num);
  if (found == lane_by_number_.end()) return fail({EIO, "completion of another queue pair"});
  if ((completion.opcode & IBV_WC_RECV) != 0) return fail({EPROTO, "verbs message"});
  ++counters_.sends_completed;
  lanes_[found->second].on_sent(completion.wr_id);
}

Status VerbsMover::take_message(const ibv_wc& completion, ring::Mover::Receiver& receiver) {
  const auto found = lane_by_number_.find(completion.qp_num);
  if (found == lane_by_number_.end()) return Error{EIO, "completion of another queue pair"};
  Lane& lane = lanes_[found->second];
  ++counters_.received;
  const auto bytes = lane.on_received(ntohl(completion.imm_data), completion.byte_len);
  if (!bytes) return bytes.error();
  if (++to_repost_ == kRepost && failed_.where == nullptr) {
    const Status posted = post_receives(std::exchange(to_repost_, 0));
    if (!posted) return posted;
  }
  copy_.assign(bytes->begin(), bytes->end());
  lane.on_consumed(completion.byte_len);
  if (!copy_.empty()) receiver.on_records(found->second, copy_);
  return Done{};
}

void VerbsMover::take_failed(const ibv_wc& completion) {
  Error error{EIO, "work request"};
  switch (completion.status) {
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR:
      ++counters_.retry_errors;
      error = {ETIMEDOUT, "work request: no answer"};
      break;
    case IBV_WC_RNR_RETRY_EXC_ERR:
      ++counters_.rnr_errors;
      error = {ETIMEDOUT, "work request: receiver not ready"};
      break;
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
    case IBV_WC_REM_ABORT_ERR:
      ++counters_.access_errors;
      error = {ECONNRESET, "work request: refused by the peer"};
      break;
    case IBV_WC_WR_FLUSH_ERR:
      error = {ECONNRESET, "work request: queue pair in error"};
      break;
    default: {
      // Some devices give up at once what they cannot send.
      const auto port = device_.port_state();
      if (port && port->state != IBV_PORT_ACTIVE) error = {ENETDOWN, "work request: port down"};
      ++counters_.other_errors;
      break;
    }
  }
  fail(error);
}

bool VerbsMover::arm(bool for_room) {
  if (for_room) ++counters_.stalls;
  if (!sends_armed_) {
    if (calls_.req_notify_cq(sends_.get(), 0) != 0) fail({EIO, "ibv_req_notify_cq"});
    sends_armed_ = true;
  }
  if (!receives_armed_ || (for_room && !receives_armed_all_)) {
    if (calls_.req_notify_cq(receives_.get(), for_room ? 0 : 1) != 0)
      fail({EIO, "ibv_req_notify_cq"});
    receives_armed_ = true;
    receives_armed_all_ = for_room;
  }
  // What came before the queues were armed makes no event.
  poll(sends_.get());
  poll(receives_.get());
  return seen_.empty() && failed_.where == nullptr;
}

void VerbsMover::disarm() {
  ibv_cq* queue = nullptr;
  void* user = nullptr;
  while (calls_.get_cq_event(channel_.get(), &queue, &user) == 0) {
    calls_.ack_cq_events(queue, 1);
    if (queue == sends_.get()) sends_armed_ = false;
    if (queue == receives_.get()) receives_armed_ = false;
  }
  eventfd_t count = 0;
  (void)::eventfd_read(failed_event_.get(), &count);
  ++counters_.wake_ups;
}

// -- for people

std::string VerbsMover::state() const {
  if (failed_.where != nullptr) return describe(failed_);
  std::string text = "up, queue pairs:";
  for (const OwnedPair& pair : pairs_) {
    constexpr std::array kNames{"RESET", "INIT", "RTR", "RTS", "SQD", "SQE", "ERR"};
    ibv_qp_attr now{};
    ibv_qp_init_attr init{};
    const bool known = calls_.query_qp(pair.get(), &now, IBV_QP_STATE, &init) == 0 &&
                       static_cast<std::size_t>(now.qp_state) < kNames.size();
    text += ' ';
    text += known ? kNames.at(now.qp_state) : "?";
  }
  return text;
}

std::vector<std::pair<std::string, std::uint64_t>> VerbsMover::counters() const {
  const Counters& c = counters_;
  return {{"queue pairs", pairs_.size()},
          {"work requests", c.work_requests},
          {"signalled", c.signalled},
          {"posts", c.posts},
          {"writes", c.writes},
          {"bytes written", c.bytes_written},
          {"publishes", c.publishes},
          {"record bytes", c.bytes_records},
          {"bytes inline", c.bytes_inline},
          {"confirmations", c.confirmations},
          {"completions", c.completions},
          {"send completions", c.sends_completed},
          {"immediates received", c.received},
          {"wakes sent", c.wakes_sent},
          {"wake-ups", c.wake_ups},
          {"stalls", c.stalls},
          {"retry errors", c.retry_errors},
          {"rnr errors", c.rnr_errors},
          {"access errors", c.access_errors},
          {"other errors", c.other_errors}};
}

}  // namespace shunt::verbs
