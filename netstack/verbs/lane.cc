#include "netstack/verbs/lane.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace shunt::verbs {
namespace {

/// Bytes to skip so that `length` lies in one piece.
std::uint32_t skip(std::uint64_t position, std::uint32_t length, std::uint32_t ring) {
  const auto at = static_cast<std::uint32_t>(position & (ring - 1));
  return at + length > ring ? ring - at : 0;
}

}  // namespace

Lane::Lane(Calls& calls, ibv_qp* pair, std::uint32_t depth, std::uint32_t inline_limit, Rings rings,
           Counters& counters)
    : calls_{calls},
      pair_{pair},
      depth_{depth},
      inline_limit_{inline_limit},
      rings_{rings},
      counters_{counters} {}

std::size_t Lane::room_bytes() const {
  const std::uint32_t room = rings_.size - used();
  const auto to_end = static_cast<std::uint32_t>(rings_.size - (head_ & (rings_.size - 1)));
  if (room <= to_end) return room;
  // The end of the ring lies ahead, and less than a batch may have to be skipped there.
  return room > rings_.batch ? room - rings_.batch : 0;
}

std::size_t Lane::room_calls() const {
  const std::uint64_t requests = next() - done_ + kReserve;
  const std::uint64_t credits = sent_ + (open_ > 0 ? 1 : 0) - sent_confirmed_ + kReserve;
  if (requests >= depth_ || credits >= rings_.credits) return 0;
  return static_cast<std::size_t>(std::min(depth_ - requests, rings_.credits - credits));
}

void Lane::append(const ibv_send_wr& request, std::span<const std::byte> from,
                  std::uint32_t local_key) {
  ibv_send_wr& added = list_.emplace_back(request);
  added.wr_id = next_++;
  ibv_sge& part = parts_.emplace_back();
  part.addr = reinterpret_cast<std::uintptr_t>(from.data());
  part.length = static_cast<std::uint32_t>(from.size());
  part.lkey = local_key;
  added.num_sge = from.empty() ? 0 : 1;
  if (!from.empty() && from.size() <= inline_limit_) {
    added.send_flags |= IBV_SEND_INLINE;
    counters_.bytes_inline += from.size();
  }
}

void Lane::write(std::span<const std::byte> from, std::uint32_t local_key, std::uint64_t to,
                 std::uint32_t key) {
  ibv_send_wr request{};
  request.opcode = IBV_WR_RDMA_WRITE;
  request.wr.rdma.remote_addr = to;
  request.wr.rdma.rkey = key;
  append(request, from, local_key);
  ++counters_.writes;
  counters_.bytes_written += from.size();
}

void Lane::publish(std::span<const std::byte> records, bool wake) {
  const auto length = static_cast<std::uint32_t>(records.size());
  // Records of one turn leave together, in one piece: a later write may overtake nothing, as the
  // piece goes out last.
  const auto at = static_cast<std::uint32_t>(head_ & (rings_.size - 1));
  if (open_ + length > rings_.batch || at + length > rings_.size || (open_ > 0 && at == 0))
    close_publish();
  if (open_ == 0) head_ += skip(head_, length, rings_.size);
  std::memcpy(&rings_.mirror[head_ & (rings_.size - 1)], records.data(), length);
  head_ += length;
  open_ += length;
  open_wake_ = open_wake_ || wake;
}

void Lane::close_publish() {
  if (open_ == 0) return;
  const auto at = static_cast<std::uint32_t>((head_ - open_) & (rings_.size - 1));
  ibv_send_wr request{};
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  if (open_wake_) request.send_flags = IBV_SEND_SOLICITED;
  request.wr.rdma.remote_addr = rings_.address + at;
  request.wr.rdma.rkey = rings_.key;
  append(request, std::span<const std::byte>{rings_.mirror}.subspan(at, open_), rings_.mirror_key);
  ++sent_;
  ++counters_.publishes;
  counters_.bytes_records += open_;
  if (open_wake_) ++counters_.wakes_sent;
  open_ = 0;
  open_wake_ = false;
}

std::uint32_t Lane::make_immediate() {
  told_ = tail_;
  received_told_ = received_;
  return static_cast<std::uint32_t>(((tail_ / 8) & 0xffff) << 16 | (received_ & 0xffff));
}

bool Lane::confirm_if_due() {
  const bool bytes = tail_ - told_ >= rings_.size / 2;
  const bool count = received_ - received_told_ >= rings_.own_credits / 2U;
  if (!bytes && !count) return false;
  if (open_ > 0) return true;  // goes along with those records
  // A peer that takes our confirmations and confirms none of them gets no more.
  if (sent_ - sent_confirmed_ >= rings_.credits || next_ - done_ >= depth_) return false;
  ibv_send_wr request{};
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  request.send_flags = IBV_SEND_SOLICITED;
  append(request, {}, 0);
  ++sent_;
  ++counters_.confirmations;
  make_immediate();
  return true;
}

Status Lane::post() {
  close_publish();
  if (list_.empty()) {
    if (next_ == last_signal_) ask_ = false;  // what is queued completes visibly already
    if (!ask_ || next_ - done_ >= depth_) return Done{};
    ibv_send_wr nothing{};
    nothing.opcode = IBV_WR_RDMA_WRITE;
    append(nothing, {}, 0);
  }
  const std::uint32_t immediate = make_immediate();
  for (std::size_t i = 0; i < list_.size(); ++i) {
    ibv_send_wr& request = list_[i];
    request.next = i + 1 < list_.size() ? &list_[i + 1] : nullptr;
    request.sg_list = &parts_[i];
    request.imm_data = htonl(immediate);
    const bool last = i + 1 == list_.size();
    if (request.wr_id + 1 - last_signal_ >= kSignalEvery || (last && ask_)) {
      request.send_flags |= IBV_SEND_SIGNALED;
      last_signal_ = request.wr_id + 1;
      ++counters_.signalled;
    }
  }
  ask_ = false;
  counters_.work_requests += list_.size();
  ++counters_.posts;
  ibv_send_wr* bad = nullptr;
  const int error = calls_.post_send(pair_, list_.data(), &bad);
  list_.clear();
  parts_.clear();
  if (error != 0) return Error{error, "ibv_post_send"};
  return Done{};
}

Result<bool> Lane::is_done() {
  if (done_ >= must_) return true;
  if (last_signal_ >= must_) return false;  // it will be told
  ask_completion();
  if (const Status posted = post(); !posted) return posted.error();
  return false;
}

void Lane::on_sent(std::uint64_t request) { done_ = std::max(done_, request + 1); }

Result<std::span<const std::byte>> Lane::on_received(std::uint32_t immediate,
                                                     std::uint32_t length) {
  const Error nonsense{EPROTO, "verbs message"};
  // What the peer has read cannot be more than what we have sent.
  const auto units = static_cast<std::uint16_t>((immediate >> 16) - confirmed_ / 8);
  const auto count = static_cast<std::uint16_t>(immediate - sent_confirmed_);
  if (std::uint64_t{units} * 8 > used() - open_ || count > sent_ - sent_confirmed_) return nonsense;
  confirmed_ += std::uint64_t{units} * 8;
  sent_confirmed_ += count;

  if (length % 8 != 0 || length > rings_.size / 2) return nonsense;
  tail_ += skip(tail_, length, rings_.size);
  return std::span<const std::byte>{rings_.own}.subspan(tail_ & (rings_.size - 1), length);
}

void Lane::on_consumed(std::uint32_t length) {
  tail_ += length;
  ++received_;
}

}  // namespace shunt::verbs
