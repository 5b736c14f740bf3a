// One peer's connections of the host fabric, made ahead. Internal to this folder.
//
//   dialled   by us: being connected -> told to the peer, not yet confirmed -> ready
//   arrived   dialled by the peer, waiting to be named in an offer
//
// The number kept ready follows the use: doubled when streams had to wait or batches follow each
// other closely, and it shrinks again in quiet times.
#pragma once

#include <deque>
#include <map>
#include <unordered_map>

#include "netstack/host/host_fabric.h"

namespace shunt::host {

class HostLink final : public fabric::Link {
 public:
  HostLink(HostFabric& fabric, fabric::LinkSetup setup, const Hello& hello);
  ~HostLink() override;
  void start();  ///< dials for the first time

  void open(fabric::StreamId id, fabric::MakeEnds ends, fabric::HalfDone done) override;
  void accept(fabric::StreamId id, fabric::View offer, fabric::MakeEnds ends,
              fabric::HalfDone done) override;
  Status complete(fabric::StreamId id, fabric::View answer) override;
  void abandon(fabric::StreamId id) override;
  void on_message(fabric::View message) override;
  fabric::LinkView view() const override;

  /// A connection of the peer's has shown its token.
  void arrived(Number number, UniqueFd socket);

 private:
  using Clock = std::chrono::steady_clock;
  struct Dialled {
    UniqueFd socket;
    Token token{};
    EventLoop::Token watch = 0;
    bool introduced = false;  ///< the token has been sent
    Clock::time_point since{};
  };
  struct Kept {
    UniqueFd socket;
    Clock::time_point since{};
  };
  struct Waiting {
    fabric::StreamId id = 0;
    fabric::HalfDone done;
    Clock::time_point until{};
  };

  void refill();
  void refill_soon();
  void dial(std::size_t count);
  void introduce(Number number);
  void failed_to_dial(Number number, Error error);
  void ready(Number number);
  std::optional<std::pair<Number, UniqueFd>> take_ready();
  void serve_waiting();
  void tell_arrivals();
  void look_after();
  void drop_old_arrivals();

  HostFabric& fabric_;
  fabric::LinkSetup setup_;
  Pin pin_;  // of what is dialled
  Clock::time_point since_ = Clock::now();
  bool proven_ = false;  // the peer's node has been reached
  std::map<Number, Dialled> dialled_;
  std::deque<std::pair<Number, Kept>> ready_;  // oldest first
  std::unordered_map<Number, Kept> arrived_;
  std::vector<Number> untold_;  // arrivals the peer has not been told
  std::deque<Waiting> waiting_;
  Number last_ = 0;
  std::size_t wanted_;
  Clock::time_point dialled_at_{};  // the last batch
  bool refilling_ = false;          // is posted
  int failures_ = 0;                // dials begun since one succeeded
  Clock::time_point succeeded_{};   // the last one
  std::uint64_t used_ = 0, granted_ = 0, shortages_ = 0, lost_ = 0, unguarded_ = 0;
  std::uint64_t used_before_ = 0;  // at the last look
  EventLoop::Token timer_ = 0;
  EventLoop::Token waiting_timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace shunt::host
