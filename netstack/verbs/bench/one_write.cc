#include "netstack/verbs/bench/one_write.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <vector>

namespace shunt::verbs::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kRing = 64u << 10;
constexpr std::uint32_t kReceives = 64;
constexpr std::chrono::microseconds kSpin{400};

/// What one side tells the other at the start.
struct Intro {
  std::uint32_t number = 0;
  std::uint32_t key = 0;
  std::uint64_t address = 0;
  std::array<std::uint8_t, 16> gid{};
};

/// On the control channel.
struct Control {
  std::uint32_t stream = 0;    ///< consumed there, or kNoStream
  std::uint32_t consumed = 0;  ///< bytes
  std::uint32_t receives = 0;  ///< given back
  std::uint32_t pad = 0;
};
constexpr std::uint32_t kNoStream = 0xffffffff;
constexpr std::uint32_t kControl = 0;  ///< its channel; streams are numbered from 1

/// A pair of rings: what we send from, and what the peer writes.
struct Channel {
  std::uint64_t filled = 0;      ///< bytes put into the ring by the program
  std::uint64_t sent = 0;        ///< given to the device
  std::uint64_t freed = 0;       ///< completed: the ring has the place again
  std::uint64_t credit = kRing;  ///< what the peer's ring takes
  bool sending = false;
  std::uint32_t in_flight = 0;
  std::uint64_t received = 0;
  std::uint64_t consumed = 0;
  std::uint64_t told = 0;
  std::uint32_t rounds = 0;  ///< messages whose answer came (writer)
  bool queued = false;
};

class Side {
 public:
  Side(Device& device, const Workload& workload, bool writer, int other)
      : device_{device}, calls_{device.calls()}, work_{workload}, writer_{writer}, other_{other} {}
  ~Side() {
    domain_regions_ = {};
    if (memory_ != nullptr) ::munmap(memory_, size_);
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  Status set_up();
  Status run();
  Tally tally() const { return tally_; }

 private:
  std::byte* out(std::uint32_t channel) { return memory_ + std::size_t{channel} * 2 * kRing; }
  std::byte* in(std::uint32_t channel) { return out(channel) + kRing; }
  std::uint64_t remote_in(std::uint32_t channel) const {
    return peer_.address + std::size_t{channel} * 2 * kRing + kRing;
  }
  Status post_receive();
  void want(std::uint32_t channel);
  Status send_waiting();
  Status send(std::uint32_t channel);
  Status take(const ibv_wc& completion);
  Status take_control();
  void program(std::uint32_t channel);
  void fill(std::uint32_t channel, std::uint64_t bytes);
  void tell(std::uint32_t stream, std::uint32_t consumed);
  bool finished() const;

  Device& device_;
  Calls& calls_;
  Workload work_;
  bool writer_;
  int other_;
  OwnedDomain domain_;
  OwnedChannel events_;
  OwnedCompletions queue_;
  OwnedReceives receives_;
  OwnedMemory domain_regions_;
  OwnedPair pair_;
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  Intro peer_;
  std::vector<Channel> channels_;
  std::deque<std::uint32_t> waiting_;
  std::deque<std::uint32_t> waiting_control_;
  std::uint32_t credits_ = kReceives;  ///< receives of the peer
  std::uint32_t used_receives_ = 0;    ///< of ours, not given back
  Tally tally_;
};

Status Side::set_up() {
  ibv_context* const context = device_.context();
  size_ = (work_.streams + 1) * std::size_t{2} * kRing;
  void* const mapped =
      ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return last_error("mmap");
  memory_ = static_cast<std::byte*>(mapped);
  domain_ = OwnedDomain{calls_, calls_.alloc_pd(context)};
  events_ = OwnedChannel{calls_, calls_.create_comp_channel(context)};
  if (!domain_ || !events_) return last_error("ibv_alloc_pd");
  if (const Status set = set_nonblocking(events_->fd); !set) return set;
  queue_ = OwnedCompletions{calls_, calls_.create_cq(context, 2000, nullptr, events_.get(), 0)};
  ibv_srq_init_attr shared{};
  shared.attr.max_wr = kReceives;
  shared.attr.max_sge = 1;
  receives_ = OwnedReceives{calls_, calls_.create_srq(domain_.get(), &shared)};
  domain_regions_ =
      OwnedMemory{calls_, calls_.reg_mr(domain_.get(), memory_, size_,
                                        IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)};
  ibv_qp_init_attr attributes{};
  attributes.send_cq = attributes.recv_cq = queue_.get();
  attributes.srq = receives_.get();
  attributes.qp_type = IBV_QPT_RC;
  attributes.cap.max_send_wr = 1024;
  attributes.cap.max_send_sge = 1;
  if (!queue_ || !receives_ || !domain_regions_) return last_error("ibv_create_cq");
  pair_ = OwnedPair{calls_, calls_.create_qp(domain_.get(), &attributes)};
  if (!pair_) return last_error("ibv_create_qp");

  const auto gids = device_.gids();
  Intro ours;
  ours.number = pair_->qp_num;
  ours.key = domain_regions_->rkey;
  ours.address = reinterpret_cast<std::uintptr_t>(memory_);
  ours.gid = gids.front().address;
  if (const Status told = swap_bytes(other_, &ours, &peer_, sizeof ours); !told) return told;

  ibv_qp_attr to{};
  to.qp_state = IBV_QPS_INIT;
  to.port_num = device_.port();
  to.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
  int error = calls_.modify_qp(
      pair_.get(), &to, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  to.qp_state = IBV_QPS_RTR;
  to.path_mtu = IBV_MTU_1024;
  to.dest_qp_num = peer_.number;
  to.max_dest_rd_atomic = 1;
  to.min_rnr_timer = 12;
  to.ah_attr.is_global = 1;
  to.ah_attr.port_num = device_.port();
  to.ah_attr.grh.sgid_index = gids.front().index;
  to.ah_attr.grh.hop_limit = 64;
  std::memcpy(to.ah_attr.grh.dgid.raw, peer_.gid.data(), peer_.gid.size());
  error = error != 0 ? error
                     : calls_.modify_qp(pair_.get(), &to,
                                        IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
                                            IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                            IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  to.qp_state = IBV_QPS_RTS;
  to.timeout = 16;
  to.retry_cnt = 6;
  to.rnr_retry = 6;
  to.max_rd_atomic = 1;
  error = error != 0
              ? error
              : calls_.modify_qp(pair_.get(), &to,
                                 IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                     IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
  if (error != 0) return last_error("ibv_modify_qp");
  for (std::uint32_t i = 0; i < kReceives; ++i)
    if (const Status posted = post_receive(); !posted) return posted;
  channels_.resize(work_.streams + 1);
  char ready = 1;
  return swap_bytes(other_, &ready, &ready, 1);
}

Status Side::post_receive() {
  ibv_recv_wr request{};
  ibv_recv_wr* bad = nullptr;
  if (calls_.post_srq_recv(receives_.get(), &request, &bad) != 0)
    return last_error("ibv_post_srq_recv");
  return Done{};
}

void Side::fill(std::uint32_t channel, std::uint64_t bytes) {
  Channel& c = channels_[channel];
  tally_.copied += bytes;
  while (bytes > 0) {  // the program's copy into the ring
    const std::uint64_t at = c.filled % kRing;
    const std::uint64_t piece = std::min(bytes, kRing - at);
    std::memset(out(channel) + at, static_cast<int>(channel), piece);
    c.filled += piece;
    bytes -= piece;
  }
  want(channel);
}

/// The program at our end of the stream: writes what it has to, reads what there is.
void Side::program(std::uint32_t channel) {
  Channel& c = channels_[channel];
  const std::uint64_t got = c.received - c.consumed;
  if (got > 0) {
    // Read: the program's copy out of the ring.
    volatile std::byte seen = *in(channel);
    (void)seen;
    c.consumed = c.received;
    tally_.copied += got;
    tally_.payload += got;
    if (work_.echo) tally_.messages += got / work_.size;
    if (!writer_ && work_.echo) fill(channel, got);
    if (writer_ && work_.echo) c.rounds += static_cast<std::uint32_t>(got / work_.size);
    if (c.consumed - c.told >= kRing / 2) {
      tell(channel, static_cast<std::uint32_t>(c.consumed - c.told));
      c.told = c.consumed;
    }
  }
  if (!writer_) return;
  if (work_.echo) {
    // The next message follows the answer to the last.
    if (c.rounds < work_.rounds && c.filled == std::uint64_t{c.rounds} * work_.size)
      fill(channel, work_.size);
  } else if (c.filled < work_.bytes) {
    const std::uint64_t room = kRing - (c.filled - c.freed);
    if (room > 0) fill(channel, std::min(room, work_.bytes - c.filled));
  }
}

void Side::tell(std::uint32_t stream, std::uint32_t consumed) {
  Channel& control = channels_[kControl];
  if (kRing - (control.filled - control.freed) < sizeof(Control)) return;  // cannot happen here
  Control message{stream, consumed, used_receives_, 0};
  used_receives_ = 0;
  std::memcpy(out(kControl) + control.filled % kRing, &message, sizeof message);
  control.filled += sizeof message;
  want(kControl);
}

void Side::want(std::uint32_t channel) {
  Channel& c = channels_[channel];
  if (c.queued || c.sending || c.filled == c.sent) return;
  c.queued = true;
  (channel == kControl ? waiting_control_ : waiting_).push_back(channel);
}

Status Side::send_waiting() {
  while (!waiting_control_.empty() && credits_ > 0) {
    waiting_control_.pop_front();
    channels_[kControl].queued = false;
    if (const Status sent = send(kControl); !sent) return sent;
  }
  // The last receive stays for control, so that both sides cannot wait for each other.
  while (!waiting_.empty() && credits_ > 1) {
    const std::uint32_t channel = waiting_.front();
    waiting_.pop_front();
    channels_[channel].queued = false;
    if (const Status sent = send(channel); !sent) return sent;
  }
  return Done{};
}

Status Side::send(std::uint32_t channel) {
  Channel& c = channels_[channel];
  const std::uint64_t at = c.sent % kRing;
  const auto length = static_cast<std::uint32_t>(
      std::min({c.filled - c.sent, kRing - at, channel == kControl ? kRing : c.credit}));
  if (length == 0 || c.sending) return Done{};
  ibv_sge part{};
  part.addr = reinterpret_cast<std::uintptr_t>(out(channel) + at);
  part.length = length;
  part.lkey = domain_regions_->lkey;
  ibv_send_wr request{};
  request.wr_id = channel;
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  request.send_flags = IBV_SEND_SIGNALED;
  request.imm_data = htonl(channel);
  request.sg_list = &part;
  request.num_sge = 1;
  request.wr.rdma.remote_addr = remote_in(channel) + at;
  request.wr.rdma.rkey = peer_.key;
  ibv_send_wr* bad = nullptr;
  if (calls_.post_send(pair_.get(), &request, &bad) != 0) return last_error("ibv_post_send");
  c.sending = true;
  c.in_flight = length;
  c.sent += length;
  if (channel != kControl) c.credit -= length;
  --credits_;
  ++tally_.work_requests;
  ++tally_.signalled;
  ++tally_.posts;
  return Done{};
}

Status Side::take(const ibv_wc& completion) {
  ++tally_.completions;
  if (completion.status != IBV_WC_SUCCESS) return Error{EIO, "work request"};
  if (completion.opcode != IBV_WC_RECV_RDMA_WITH_IMM) {
    const auto channel = static_cast<std::uint32_t>(completion.wr_id);
    Channel& c = channels_[channel];
    c.sending = false;
    c.freed += c.in_flight;
    if (channel != kControl) program(channel);
    want(channel);
    return Done{};
  }
  const std::uint32_t channel = ntohl(completion.imm_data);
  if (channel >= channels_.size()) return Error{EPROTO, "immediate"};
  if (const Status posted = post_receive(); !posted) return posted;
  ++used_receives_;
  channels_[channel].received += completion.byte_len;
  if (channel == kControl) {
    if (const Status taken = take_control(); !taken) return taken;
  } else {
    program(channel);
  }
  if (used_receives_ >= kReceives / 2) tell(kNoStream, 0);
  return Done{};
}

Status Side::take_control() {
  Channel& control = channels_[kControl];
  while (control.received - control.consumed >= sizeof(Control)) {
    Control message;
    std::memcpy(&message, in(kControl) + control.consumed % kRing, sizeof message);
    control.consumed += sizeof message;
    credits_ += message.receives;
    if (message.stream == kNoStream) continue;
    if (message.stream >= channels_.size()) return Error{EPROTO, "control message"};
    channels_[message.stream].credit += message.consumed;
    want(message.stream);
  }
  return Done{};
}

bool Side::finished() const {
  const std::uint64_t each = work_.echo ? std::uint64_t{work_.size} * work_.rounds : work_.bytes;
  const std::uint64_t all = each * work_.streams;
  if (writer_ && !work_.echo) {
    return std::all_of(channels_.begin() + 1, channels_.end(),
                       [&](const Channel& c) { return c.freed == each; });
  }
  return tally_.payload == all && std::all_of(channels_.begin() + 1, channels_.end(),
                                              [](const Channel& c) { return c.freed == c.filled; });
}

Status Side::run() {
  const auto begin = Clock::now();
  if (writer_)
    for (std::uint32_t channel = 1; channel <= work_.streams; ++channel) program(channel);
  auto last_work = Clock::now();
  while (!finished()) {
    if (const Status sent = send_waiting(); !sent) return sent;
    ibv_wc completion{};
    bool any = false;
    while (calls_.poll_cq(queue_.get(), 1, &completion) == 1) {  // one at a time
      any = true;
      if (const Status taken = take(completion); !taken) return taken;
      if (const Status sent = send_waiting(); !sent) return sent;
    }
    const auto now = Clock::now();
    if (any) last_work = now;
    if (now - begin > std::chrono::minutes{2}) return Error{ETIMEDOUT, "bench"};
    if (any || now - last_work < kSpin) continue;
    (void)calls_.req_notify_cq(queue_.get(), 0);
    if (calls_.poll_cq(queue_.get(), 1, &completion) == 1) {
      if (const Status taken = take(completion); !taken) return taken;
      continue;
    }
    pollfd wait{events_->fd, POLLIN, 0};
    if (::poll(&wait, 1, 1000) == 1) ++tally_.wake_ups;
    ibv_cq* queue = nullptr;
    void* user = nullptr;
    while (calls_.get_cq_event(events_.get(), &queue, &user) == 0) calls_.ack_cq_events(queue, 1);
    last_work = Clock::now();
  }
  tally_.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  // What the other side still sends must find us here.
  char end = 1;
  return swap_bytes(other_, &end, &end, 1);
}

}  // namespace

Status swap_bytes(int other, const void* ours, void* theirs, std::size_t size) {
  if (::write(other, ours, size) != static_cast<ssize_t>(size)) return last_error("write");
  auto* to = static_cast<char*>(theirs);
  for (std::size_t got = 0; got < size;) {
    const ssize_t count = ::read(other, to + got, size - got);
    if (count <= 0) return Error{count == 0 ? EPIPE : errno, "read"};
    got += static_cast<std::size_t>(count);
  }
  return Done{};
}

Result<Tally> run_one_write(Device& device, const Workload& workload, bool writer, int other) {
  Side side{device, workload, writer, other};
  if (const Status set = side.set_up(); !set) return set.error();
  if (const Status ran = side.run(); !ran) return ran.error();
  return side.tally();
}

}  // namespace shunt::verbs::bench
