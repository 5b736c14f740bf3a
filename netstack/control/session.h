// A control connection that is up: one peer, its links, the offers in both directions, keep-alive.
//
// On the thread of the loop. Ends once, and is told so from the loop; may be destroyed from there.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "netstack/control/channel.h"
#include "netstack/control/links.h"
#include "netstack/control/offers.h"
#include "netstack/control/peers.h"

namespace shunt::control {

class Session : public Channel::Owner, Links::Owner, Offers::Owner {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual std::uint64_t next_link_session() = 0;
    virtual void on_session_end(Session& session, const End& end) = 0;
    /// A link came up, or there is one less to wait for.
    virtual void on_links(Session& session) = 0;
    virtual void on_used(Session& session) = 0;
  };
  struct Setup {
    IpAddress self{};
    IpAddress peer{};
    bool dialled = false;  ///< by us
    std::uint16_t version = 0;
    std::uint64_t peer_instance = 0;
    Info peer_info;
    std::chrono::microseconds connect_time{};
  };
  Session(EventLoop& loop, Owner& owner, Delegate& delegate, const Options& options, Setup setup,
          std::shared_ptr<Channel> channel);
  ~Session() override;  ///< closes; nobody is told
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  void start();

  /// BYE; links end and the delegate hears of it, the owner does not.
  void bye(Reason reason, std::string_view why);
  /// The same without a word, for a connection that is dead.
  void drop(const std::string& why);

  /// BYE, and nobody here is told.
  void farewell();

  Result<Route> route(std::span<const Kind> only);
  fabric::Link* link(const Route& route) const { return links_.find(route.kind, route.session); }
  void offer(const Route& route, Offer offer, Peers::Answered done);
  void confirm(const Route& route);
  void withdraw(const Route& route);
  void pass(const Endpoint& client, const Endpoint& server);
  bool accept(const Route& route, int server_family, Bytes message);
  void refuse(const Route& route, Refusal why);

  /// Keep-alive and retries; gives when it wants to be called next. May end the session (posted).
  /// `late`: how long after that this call comes.
  EventLoop::Clock::time_point tick(EventLoop::Clock::time_point now,
                                    EventLoop::Clock::duration late);
  bool ready() const { return !ended_ && (links_.any_up() || links_.settled()); }
  bool in_use(EventLoop::Clock::time_point now) const;
  EventLoop::Clock::time_point last_used() const { return used_; }
  EventLoop::Clock::time_point since() const { return since_; }
  const Setup& setup() const { return setup_; }
  void fill(PeerView& view) const;
  bool owes() const { return links_.owes(); }

 private:
  void on_message(Channel& channel, Message message, View payload) override;
  void on_end(Channel& channel, const End& end) override;
  void send_to_peer(const Message& message) override { channel_->send(message); }
  void send_with_next(const Message& message) override { channel_->send_with_next(message); }
  std::uint64_t new_session() override { return owner_.next_link_session(); }
  void on_link_up(Kind kind, std::uint64_t session) override;
  void on_link_down(Kind kind, std::uint64_t session) override;
  void on_links_changed() override { owner_.on_links(*this); }
  void on_no_answer(EventLoop::Clock::time_point since) override;

  void handle(Offer& offer);
  void handle(Accept& accept) { judge(offers_.on(std::move(accept))); }
  void handle(const Refuse& refuse) { judge(offers_.on(refuse)); }
  void handle(const Confirm& confirm);
  void handle(const Withdraw& withdraw);
  void handle(const Pass& pass);
  void handle(const LinkStart& message) { judge(links_.on(message)); }
  void handle(const LinkReady& message) { judge(links_.on(message)); }
  void handle(const LinkEnd& message) { judge(links_.on(message)); }
  void handle(const LinkMessage& message) { judge(links_.on(message)); }
  void handle(const Ping& ping);
  void handle(const Pong& pong);
  template <typename Other>
  void handle(const Other& /*message*/) {
    judge(false);  // belongs to the handshake
  }
  void judge(Offers::Verdict verdict);
  void judge(bool ok) { judge(ok ? Offers::Verdict::kOk : Offers::Verdict::kProtocol); }
  bool ours(const Endpoint& client, const Endpoint& server) const;
  void use();
  void ping();

  Owner& owner_;
  Delegate& delegate_;
  const Options& options_;
  Setup setup_;
  std::shared_ptr<Channel> channel_;
  Links links_;
  Offers offers_;
  EventLoop::Clock::time_point since_ = EventLoop::Clock::now();
  EventLoop::Clock::time_point used_ = since_;
  std::optional<EventLoop::Clock::time_point> asked_;  ///< first PING since anything was heard
  EventLoop::Clock::time_point last_ping_{};
  std::uint64_t ping_token_ = 0;
  std::optional<std::chrono::microseconds> round_trip_;
  bool suspect_ = false;  ///< an offer was not answered, and nothing has been heard since
  EventLoop::Clock::time_point ping_window_{};
  std::uint32_t pings_heard_ = 0;
  std::uint64_t passed_ = 0;
  bool ended_ = false;
};

}  // namespace shunt::control
