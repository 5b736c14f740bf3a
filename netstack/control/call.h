// A control connection on its way up: made by us or by the other side, until it is up or has
// failed.
//
// Holds the bound of the handshake. On the thread of its loop; its owner is told from the loop.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "netstack/base/endpoint.h"
#include "netstack/control/channel.h"
#include "netstack/control/dial.h"
#include "netstack/control/handshake.h"

namespace shunt::control {

/// Why a call came to nothing.
struct Failure {
  enum class What : std::uint8_t {
    kRefused,      ///< connect: nobody listens
    kSilent,       ///< connect: no answer in time
    kUnreachable,  ///< connect: any other error of the network
    kLocal,        ///< we have no descriptors, no ports: says nothing about the peer
    kNotShunt,     ///< connected, but this is not our protocol, or it says nothing
    kBye,          ///< the other side, or we, said why: `reason`
    kOver,         ///< it was VERIFY, and has been answered
  };
  What what = What::kNotShunt;
  int error = 0;
  Reason reason{};
  std::string why;
};
Failure failure_of(const Error& error);  ///< of Dial, or of a system call before it

class Call : public Channel::Owner, public std::enable_shared_from_this<Call> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual Info info() = 0;
    /// Of an incoming VERIFY: is this a call of ours to `from`? True at most once for each call.
    virtual bool vouches(const Verify& question, const IpAddress& from) = 0;
    /// Dialled side: the caller is who it says. admit() it, give_up() on it, or leave it waiting.
    virtual void on_proved(Call& call) = 0;
    /// take_channel() now.
    virtual void on_up(Call& call) = 0;
    virtual void on_failed(Call& call, const Failure& failure) = 0;
  };
  struct Setup {
    int netns = -1;
    std::uint16_t port = 0;
    std::string_view key;
    std::uint64_t instance = 0;
    std::chrono::milliseconds bound{};
    Channel::Limits limits;
  };

  Call(EventLoop& loop, Owner& owner, const Setup& setup);
  ~Call() override;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Status dial(const IpAddress& from, const IpAddress& peer);  ///< see Dial::start
  Status answer(UniqueFd socket);                             ///< an accepted one

  void admit();
  void give_up(Reason reason, std::string_view why);  ///< says BYE; the owner is not told
  /// Is this VERIFY about this call? Says so once.
  bool vouches(const Verify& question);

  const IpAddress& peer() const { return peer_; }
  const IpAddress& self() const { return self_; }
  bool dialled_by_us() const { return role_ == Role::kDialling; }
  const Handshake& handshake() const { return *handshake_; }
  std::shared_ptr<Channel> take_channel() { return std::move(channel_); }
  std::chrono::microseconds connect_time() const { return connect_time_; }

 private:
  void on_message(Channel& channel, Message message, View payload) override;
  void on_end(Channel& channel, const End& end) override;
  void on_connected(Result<UniqueFd> socket);
  Status open(UniqueFd socket);
  void on_step(Handshake::Step step);
  void answer_verify(const Verify& question);
  void call_back();
  void on_called_back(bool yes);
  void on_late();
  void fail(const Failure& failure);
  void stop();

  class CallBack;  ///< our VERIFY on a connection of its own

  EventLoop& loop_;
  Owner& owner_;
  Setup setup_;
  Role role_ = Role::kDialling;
  IpAddress peer_{};
  IpAddress self_{};
  std::optional<Dial> dial_;
  std::shared_ptr<Channel> channel_;
  std::optional<Handshake> handshake_;
  std::shared_ptr<CallBack> call_back_;
  EventLoop::Token timer_ = 0;
  EventLoop::Token call_back_timer_ = 0;
  EventLoop::Clock::time_point started_{};
  std::chrono::microseconds connect_time_{};
  std::uint16_t local_port_ = 0;
  Nonce nonce_{};
  bool vouched_ = false;
  bool over_ = false;
};

Nonce fresh_nonce();

}  // namespace shunt::control
