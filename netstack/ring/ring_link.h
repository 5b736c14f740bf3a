// The Link of link.h. One object per peer and fabric, on the fabric loop's thread.
//
//   ring_link.cc   streams: made, completed, reset, forgotten; the link's own failure
//   incoming.cc    what the peer's records do to a stream
//   pump.cc        the turn: receive, give to applications, take from them, tell the peer, sleep
//
// A turn is the only place where bytes and records move. Events (an application wrote or can take
// more, the mover has something, a timer) only mark streams and ask for a turn, so a batch of
// events costs one turn with one flush. Streams are destroyed at the end of a turn and nowhere
// else.
//
// Life of a stream here: it ends once both sides have said their last. Each says kFinish (no more
// bytes) or kReset exactly once as the last thing that can touch the other's rings, and only then
// the other one uses that memory again: a write under way cannot be recalled. A stream that was
// reset here, and whose peer holds a ring of ours, waits for the peer's last word as "dying".
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "netstack/fabric/app_end.h"
#include "netstack/ring/halves.h"
#include "netstack/ring/link.h"
#include "netstack/ring/record.h"
#include "netstack/ring/used_ids.h"

namespace shunt::ring {

/// What is always watched for on applications' sockets.
constexpr std::uint32_t kAppEvents = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET;

struct Stream {
  fabric::StreamId id = 0;
  fabric::AppEnd app;
  EventLoop::Token watch = 0;
  In in;
  Out out;

  bool offered = false;  ///< the opening side, before complete()
  bool dying = false;    ///< reset here; see above

  // The application's socket
  bool readable = false;       ///< it may have written something that was not taken
  bool write_blocked = false;  ///< it takes nothing now: EPOLLOUT is watched
  bool app_ended = false;      ///< it will write no more
  bool app_failed = false;     ///< it was closed with something unread, or the like

  // Last words
  bool finish_sent = false, finish_received = false, finish_given = false;
  bool reset_sent = false, peer_final = false;

  // What the peer is to be told
  bool reset_due = false, want_due = false, credit_due = false, reclaim_due = false,
       release_due = false;
  std::optional<Pool::Grant> grant_due;

  bool want_sent = false;     ///< no ring yet since
  bool wanted = false;        ///< the peer waits for a ring, and there was none
  bool reclaim_sent = false;  ///< since it got its ring
  bool give_back = false;     ///< the peer asked for its ring
  bool stalled = false;       ///< has bytes, has no credit
  bool lacks_memory = false;  ///< out.lacks_memory(), as it is counted
  bool in_active = false, in_deliver = false, in_dirty = false, in_tidy = false, in_wanting = false;
  std::optional<std::uint64_t> urgent_at;  ///< the last urgent byte; not given yet
  std::uint8_t full = 0;  ///< times its ring was nearly full though the application kept up
  std::uint8_t idle_ticks = 0;
  std::int64_t deficit = 0;
  std::uint64_t seen_sent = 0, seen_consumed = 0;  ///< at the last tick
  std::uint64_t stalls = 0;
};

class RingLink final : public fabric::Link, private Mover::Receiver {
 public:
  RingLink(EventLoop& loop, fabric::Kind kind, std::unique_ptr<Mover> mover, std::string peer_name,
           MoveFunction<void(Error)> failed, Options options);
  ~RingLink() override;
  Status start();  ///< an error: as if the mover had failed

  void open(fabric::StreamId id, fabric::MakeEnds ends, fabric::HalfDone done) override;
  void accept(fabric::StreamId id, fabric::View offer, fabric::MakeEnds ends,
              fabric::HalfDone done) override;
  Status complete(fabric::StreamId id, fabric::View answer) override;
  void abandon(fabric::StreamId id) override;
  void on_message(fabric::View message) override;
  fabric::LinkView view() const override;
  bool owes() const override;

 private:
  // ring_link.cc
  Result<Stream*> add(fabric::StreamId id, fabric::MakeEnds& make, UniqueFd& application);
  Stream* find(fabric::StreamId id);
  void on_app_event(Stream& stream, std::uint32_t events);
  void reset(Stream& stream);
  void part(Stream& stream, bool cleanly);
  void look_at_memory(Stream& stream);
  void end_if_over(Stream& stream);
  void bury();
  void fail(Error error);

  // incoming.cc
  void on_records(unsigned lane, std::span<const std::byte> records) override;
  void on_record(const Record& record);
  bool on_stream_record(Stream& stream, const Record& record);
  void on_inline(Stream& stream, std::span<const std::byte> bytes);
  void on_reset(Stream& stream);
  void on_want(Stream& stream);
  bool grant(Stream& stream, std::uint32_t size);
  void serve_wanting();

  // pump.cc
  void schedule();
  void turn();
  void rest(bool worked);
  void deliver(Stream& stream);
  std::size_t give(Stream& stream, std::span<const iovec> parts);
  std::size_t give_next(Stream& stream, std::span<iovec> parts);
  void block(Stream& stream, bool blocked);
  void send_round();
  enum class Sent { kMore, kNothing, kNoRoom };
  Sent send(Stream& stream);
  bool take_into_ring(Stream& stream);
  bool take_into_records(Stream& stream);
  bool tell(Stream& stream);
  void tell_all();
  bool append(Stream& stream, const Record& record);
  bool has_room(unsigned lane, std::size_t records, std::size_t pushes);
  void publish(unsigned lane);
  void publish_all();
  unsigned lane_of(const Stream& stream) const { return stream.id / 2 % lanes_; }
  void tick();
  bool tidy(Stream& stream);

  void activate(Stream& stream);
  void to_deliver(Stream& stream);
  void to_tell(Stream& stream);
  void to_tidy(Stream& stream);

  EventLoop& loop_;
  fabric::Kind kind_;
  std::unique_ptr<Mover> mover_;
  std::string peer_name_;
  MoveFunction<void(Error)> failed_callback_;
  Options options_;
  unsigned lanes_;
  Pool pool_;
  UsedIds ids_;
  std::unordered_map<fabric::StreamId, std::unique_ptr<Stream>> streams_;

  std::deque<Stream*> active_;   ///< have bytes and credit; taken from in turn
  std::deque<Stream*> deliver_;  ///< have bytes for their applications
  std::deque<Stream*> dirty_;    ///< have something to tell the peer
  std::deque<Stream*> tidy_;     ///< hold something to give back once they are idle
  std::deque<Stream*> wanting_;  ///< their peer waits for ring memory
  std::vector<Stream*> over_;    ///< to be destroyed at the end of the turn

  std::vector<std::vector<std::byte>> outbox_;  ///< records to publish, by lane
  std::vector<std::byte> scratch_;
  std::optional<Error> failure_;
  int lack_memory_ = 0;        ///< streams with a ring that there is no memory here for
  bool room_blocked_ = false;  ///< something waits for room
  bool moved_ = false;         ///< this turn did something
  bool last_words_ = false;    ///< this turn said some
  EventLoop::Turn turn_{loop_, [this] { turn(); }};
  EventLoop::Token event_watch_ = 0;
  EventLoop::Token tick_timer_ = 0;
  EventLoop::Token look_timer_ = 0;  ///< while there are streams: a bell may get lost
  EventLoop::Clock::time_point spin_until_{};
  int spin_value_ = 0;  ///< whether spinning has paid of late

  struct Counters {
    std::uint64_t turns = 0, sleeps = 0, wakes = 0, spins_paid = 0, records_in = 0, records_out = 0,
                  inline_bytes = 0, ring_bytes = 0, unknown = 0, violations = 0, no_room = 0,
                  no_memory = 0, lacked_memory = 0;
  } counters_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace shunt::ring
