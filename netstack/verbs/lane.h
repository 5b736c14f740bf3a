// One queue pair to the peer: the list of work requests of this turn, what is signalled, and a
// message ring in each direction.
//
// Theory. A turn of the pump queues any number of writes of bytes and of records; post() gives them
// to the device as one list, all writes first, then one WRITE_WITH_IMM that carries the records of
// the turn. The device works the list off in order, so the peer sees the records after the bytes.
//
// Work requests are numbered from 0 (wr_id). Only every kSignalEvery-th asks for a completion; one
// completion says that all before it are done as well. An error completes in any case.
//
// Message rings: one in the peer's memory that we write (`head_`, `confirmed_`), one in ours that
// the peer writes (`tail_`, `told_`). A publish that would cross the end of the ring begins at its
// start; both sides know the rule, and the length of a publish comes with its completion, so
// nothing is framed. The immediate says how far its sender has read the other direction:
//
//   bits 31..16   bytes read from the message ring, in units of 8, modulo 2^16
//   bits 15..0    immediates received, modulo 2^16
//
// Each immediate uses one receive of the peer's. The sender keeps count of them (`credits`), so
// that the peer never runs out and receiver-not-ready never happens. A side that has read much and
// has nothing to say publishes nothing, with an immediate; kReserve credits are kept for that.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "netstack/verbs/bootstrap.h"
#include "netstack/verbs/owned.h"

namespace shunt::verbs {

struct Counters {
  std::uint64_t work_requests = 0;
  std::uint64_t signalled = 0;
  std::uint64_t posts = 0;          ///< lists given to the device
  std::uint64_t writes = 0;         ///< of bytes
  std::uint64_t bytes_written = 0;  ///< by those
  std::uint64_t publishes = 0;      ///< immediates with records
  std::uint64_t bytes_records = 0;
  std::uint64_t bytes_inline = 0;   ///< of either kind, handed over inside the work request
  std::uint64_t confirmations = 0;  ///< immediates without records
  std::uint64_t completions = 0;    ///< of sends, of immediates received, and failed ones
  std::uint64_t sends_completed = 0;
  std::uint64_t received = 0;       ///< immediates
  std::uint64_t wakes_sent = 0;     ///< immediates that wake a sleeping peer
  std::uint64_t wake_ups = 0;       ///< of us
  std::uint64_t stalls = 0;         ///< turns that found no room
  std::uint64_t retry_errors = 0;   ///< the peer did not answer
  std::uint64_t rnr_errors = 0;     ///< the peer had no receive: must stay 0
  std::uint64_t access_errors = 0;  ///< the peer refused a key or an address
  std::uint64_t other_errors = 0;
};

class Lane {
 public:
  static constexpr std::uint64_t kSignalEvery = 32;
  static constexpr std::uint32_t kReserve = 4;

  struct Rings {
    std::uint32_t size = 0;        ///< of a message ring
    std::uint32_t batch = 0;       ///< of a publish, at most
    std::span<std::byte> own;      ///< the peer writes
    std::span<std::byte> mirror;   ///< what we write over there
    std::uint32_t mirror_key = 0;  ///< local
    std::uint32_t address = 0;     ///< of the peer's ring for its own device
    std::uint32_t key = 0;         ///< remote
    std::uint16_t credits = 0;     ///< of the peer
    std::uint16_t own_credits = 0;
  };

  /// `pair` is ready to send. `depth` work requests fit in it, `inline_limit` bytes in one of them.
  Lane(Calls& calls, ibv_qp* pair, std::uint32_t depth, std::uint32_t inline_limit, Rings rings,
       Counters& counters);

  std::uint32_t number() const { return pair_->qp_num; }
  ibv_qp* pair() const { return pair_; }

  /// Of publishes.
  std::size_t room_bytes() const;
  /// Of write() and publish().
  std::size_t room_calls() const;
  /// `from` lies in memory registered as `local_key` and must not change until the write is done.
  void write(std::span<const std::byte> from, std::uint32_t local_key, std::uint64_t to,
             std::uint32_t key);
  void publish(std::span<const std::byte> records, bool wake);
  /// Gives what was queued to the device.
  Status post();

  // -- completions, from the owner of the queues
  void on_sent(std::uint64_t request);
  /// A received immediate of so many bytes: where they lie. EPROTO: breaks the rules above.
  Result<std::span<const std::byte>> on_received(std::uint32_t immediate, std::uint32_t length);
  /// The owner has posted the receive again and copied the bytes.
  void on_consumed(std::uint32_t length);
  /// Queues an immediate without records if the peer should be told now. True if it did.
  bool confirm_if_due();

  /// Numbers of the next request, and of the first that is not known to be done.
  std::uint64_t next() const { return next_ + (open_ > 0 ? 1 : 0); }
  std::uint64_t done() const { return done_; }
  /// All that is queued now is to complete visibly: the next post() asks for a completion.
  void ask_completion() { ask_ = true; }

  /// What is queued now must be done before the owner may end.
  void must_be_done() { must_ = next(); }
  /// Whether it is: the peer's device has acknowledged it. If not, asks for a completion.
  Result<bool> is_done();

 private:
  void append(const ibv_send_wr& request, std::span<const std::byte> from, std::uint32_t local_key);
  void close_publish();
  std::uint32_t make_immediate();
  std::uint32_t used() const { return static_cast<std::uint32_t>(head_ - confirmed_); }

  Calls& calls_;
  ibv_qp* pair_;
  std::uint32_t depth_;
  std::uint32_t inline_limit_;
  Rings rings_;
  Counters& counters_;

  // The list of this turn. Grows to the depth and stays; pointers are set in post().
  std::vector<ibv_send_wr> list_;
  std::vector<ibv_sge> parts_;
  std::uint64_t next_ = 0;         ///< number of the next request
  std::uint64_t done_ = 0;         ///< all before are done
  std::uint64_t last_signal_ = 0;  ///< number after the last that asked for a completion
  bool ask_ = false;
  std::uint64_t must_ = 0;  ///< see must_be_done()

  // The publish that is being gathered: [head_ - open_, head_) of the mirror.
  std::uint32_t open_ = 0;
  bool open_wake_ = false;

  std::uint64_t head_ = 0;       ///< bytes published, with what was skipped at the end
  std::uint64_t confirmed_ = 0;  ///< of those, read by the peer
  std::uint64_t sent_ = 0;       ///< immediates queued
  std::uint64_t sent_confirmed_ = 0;
  std::uint64_t tail_ = 0;  ///< bytes read
  std::uint64_t told_ = 0;  ///< of those, told to the peer
  std::uint64_t received_ = 0;
  std::uint64_t received_told_ = 0;
};

}  // namespace shunt::verbs
