// Inside of Peers. peers.cc: the table, discovery, what users ask for. peers_calls.cc: how calls
// and control connections begin and end.
//
// One Peer for each address that we call, that has called and proved who it is, or that we lost and
// call again. The states that an address can be in:
//
//   calling    out                        our call is under way; `parked`: theirs waits for its end
//   answering  admitted                   their call, we have said INFO
//   up         session
//   lost       neither, redial planned    was up, is used: called again with growing pauses
//   (none)     in not_shunt_, or unknown
//
// Calls and sessions are told to go from inside their own callbacks; sessions are destroyed from
// the loop (graveyard_), calls hold themselves while they run.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "netstack/control/call.h"
#include "netstack/control/not_shunt.h"
#include "netstack/control/peers.h"
#include "netstack/control/session.h"

namespace shunt::control {

class Peers::Impl : public Call::Owner, public Session::Owner {
 public:
  using Clock = EventLoop::Clock;

  Impl(EventLoop& loop, Options options, Delegate& delegate);
  ~Impl() override;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  Status listen();

  State state(const IpAddress& address) const;
  void discover(const IpAddress& address, Discovered done);
  Session* session(const IpAddress& address) const;
  PeersView view() const;
  bool owes() const;

 private:
  struct Waiter {
    Discovered done;
    EventLoop::Token timer = 0;
  };
  struct Peer {
    std::shared_ptr<Call> out;
    std::shared_ptr<Call> admitted;
    std::shared_ptr<Call> parked;
    std::unique_ptr<Session> session;
    std::vector<Waiter> waiters;
    State told = State::kUnknown;
    Clock::time_point since = Clock::now();
    bool lost = false;
    Clock::time_point used{};           ///< of the session that was lost
    std::chrono::milliseconds pause{};  ///< before the next call
    EventLoop::Token redial = 0;
    EventLoop::Token parking = 0;  ///< when `parked` has waited for long enough
    std::string why;

    bool idle() const { return !out && !admitted && !parked && !session && redial == 0; }
  };

  // Discovery
  void tell(const IpAddress& address, Peer& peer, State state);
  void settle(const IpAddress& address, State state);
  void on_waited(const IpAddress& address);
  bool make_room();
  void erase_if_idle(const IpAddress& address);
  bool is_self(const IpAddress& address) const;

  // Calls
  void on_acceptable(int listener, std::size_t index);
  void take(UniqueFd socket);
  IpAddress source_for(const IpAddress& peer) const;
  void start_call(const IpAddress& address, Peer& peer);
  void call_failed(const IpAddress& address, const Failure& failure);
  void incoming_failed(Call& call, const Failure& failure);
  void park(const IpAddress& address, Peer& peer, std::shared_ptr<Call> call);
  void on_parked(const IpAddress& address);
  void admit(Peer& peer, std::shared_ptr<Call> call);
  void count(const Call& call, const Failure& failure);
  Call::Setup call_setup() const;
  Info info() override;
  bool vouches(const Verify& question, const IpAddress& from) override;
  void on_proved(Call& call) override;
  void on_up(Call& call) override;
  void on_failed(Call& call, const Failure& failure) override;

  // Sessions
  std::uint64_t next_link_session() override { return ++last_link_session_; }
  void on_session_end(Session& session, const End& end) override;
  void on_links(Session& session) override;
  void on_used(Session& session) override;
  void lose(const IpAddress& address, Peer& peer, const std::string& why);
  void call_again_later(const IpAddress& address, Peer& peer);
  void bury(Peer& peer);
  void tick_by(Clock::time_point when);
  void tick();

  EventLoop& loop_;
  Options options_;
  Delegate& delegate_;
  std::uint64_t instance_ = 0;
  std::vector<UniqueFd> listeners_;
  std::vector<EventLoop::Token> watches_;
  std::unordered_map<Call*, std::shared_ptr<Call>> strangers_;
  std::unordered_map<IpAddress, Peer> peers_;
  NotShunt not_shunt_;
  std::size_t dials_ = 0;  ///< calls of ours under way
  std::uint64_t last_link_session_ = 0;
  EventLoop::Token tick_timer_ = 0;
  Clock::time_point tick_at_ = Clock::time_point::max();
  std::vector<std::unique_ptr<Session>> graveyard_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);  ///< for what is posted to the loop
  Counters counters_;
};

}  // namespace shunt::control
