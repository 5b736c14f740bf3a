#include "netstack/control/call.h"

#include <sys/random.h>

#include <cstdlib>
#include <utility>

namespace shunt::control {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using What = Failure::What;

Nonce fresh_nonce() {
  Nonce nonce{};
  if (::getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size()))
    std::abort();  // up to 256 bytes always come at once: getrandom(2)
  return nonce;
}

Failure failure_of(const Error& error) {
  What what = What::kUnreachable;
  if (std::string_view{error.where} != "connect" || error.number == EADDRNOTAVAIL ||
      error.number == EAGAIN || error.number == ENOBUFS || error.number == ENOMEM)
    what = What::kLocal;
  else if (error.number == ECONNREFUSED)
    what = What::kRefused;
  else if (error.number == ETIMEDOUT)
    what = What::kSilent;
  return {what, error.number, {}, describe(error)};
}

// Asks the shim at the caller's address whether the call is its own.
class Call::CallBack : public Channel::Owner, public std::enable_shared_from_this<CallBack> {
 public:
  CallBack(Call& call, Verify question) : call_{&call}, dial_{call.loop_}, question_{question} {}
  ~CallBack() override {
    if (channel_) channel_->close();
  }
  CallBack(const CallBack&) = delete;
  CallBack& operator=(const CallBack&) = delete;

  Status start() {
    // From the address that was called: the asked shim knows it by that.
    return dial_.start(call_->setup_.netns, call_->self_,
                       Endpoint{call_->peer_, call_->setup_.port},
                       [this](Result<UniqueFd> socket) { on_connected(std::move(socket)); });
  }
  /// The call has its answer, or does without. It may be gone before this object is: events of one
  /// turn of the loop are seen one after the other.
  void dismiss() { call_ = nullptr; }

 private:
  void on_connected(Result<UniqueFd> socket) {
    if (call_ == nullptr) return;
    if (!socket) return tell(false);
    channel_ =
        std::make_shared<Channel>(call_->loop_, std::move(*socket), *this, call_->setup_.limits);
    if (!channel_->start()) return tell(false);
    channel_->send(question_);
  }
  void on_message(Channel& channel, Message message, View /*payload*/) override {
    const Verified* answer = std::get_if<Verified>(&message);
    channel.close();
    tell(answer != nullptr && answer->yours);
  }
  void on_end(Channel& /*channel*/, const End& /*end*/) override { tell(false); }
  void tell(bool yes) {
    if (call_ != nullptr) call_->on_called_back(yes);
  }

  Call* call_;
  Dial dial_;
  Verify question_;
  std::shared_ptr<Channel> channel_;
};

Call::Call(EventLoop& loop, Owner& owner, const Setup& setup)
    : loop_{loop}, owner_{owner}, setup_{setup}, nonce_{fresh_nonce()} {}

Call::~Call() { stop(); }

void Call::stop() {
  over_ = true;
  loop_.forget(std::exchange(timer_, 0));
  loop_.forget(std::exchange(call_back_timer_, 0));
  dial_.reset();
  call_back_.reset();
  if (channel_) channel_->close();
}

Status Call::dial(const IpAddress& from, const IpAddress& peer) {
  role_ = Role::kDialling;
  peer_ = peer;
  started_ = EventLoop::Clock::now();
  dial_.emplace(loop_);
  const Status started =
      dial_->start(setup_.netns, from, Endpoint{peer, setup_.port},
                   [this](Result<UniqueFd> socket) { on_connected(std::move(socket)); });
  if (!started) return started.error();
  local_port_ = dial_->local_port();
  timer_ = loop_.after(setup_.bound, [this] { on_late(); });
  return Done{};
}

Status Call::answer(UniqueFd socket) {
  role_ = Role::kDialled;
  started_ = EventLoop::Clock::now();
  prepare_socket(socket.get());
  timer_ = loop_.after(setup_.bound, [this] { on_late(); });
  return open(std::move(socket));
}

void Call::on_connected(Result<UniqueFd> socket) {
  const auto keep = shared_from_this();
  if (!socket) return fail(failure_of(socket.error()));
  connect_time_ = duration_cast<microseconds>(EventLoop::Clock::now() - started_);
  if (Status opened = open(std::move(*socket)); !opened)
    fail({What::kLocal, opened.error().number, {}, describe(opened.error())});
}

Status Call::open(UniqueFd socket) {
  const auto self = local_endpoint(socket.get());
  const auto peer = remote_endpoint(socket.get());
  if (!self || !peer) return Error{ENOTCONN, "getpeername"};
  self_ = self->address;
  peer_ = peer->address;
  Hello hello;
  hello.instance = setup_.instance;
  hello.nonce = nonce_;
  handshake_.emplace(Handshake::Setup{role_, setup_.key, hello, self_, peer_});
  channel_ = std::make_shared<Channel>(loop_, std::move(socket), *this, setup_.limits);
  if (Status started = channel_->start(); !started) return started.error();
  for (const Message& message : handshake_->start()) channel_->send(message);
  return Done{};
}

void Call::on_message(Channel& channel, Message message, View payload) {
  const auto keep = shared_from_this();
  if (const Verify* question = std::get_if<Verify>(&message);
      question && role_ == Role::kDialled && !handshake_->heard_hello())
    return answer_verify(*question);
  std::vector<Message> send;
  const auto step = handshake_->on(message, payload, send);
  for (const Message& out : send) channel.send(out);
  on_step(step);
}

void Call::answer_verify(const Verify& question) {
  // The asker closes; if it does not, the bound of the handshake does.
  channel_->send(Verified{owner_.vouches(question, peer_)});
}

bool Call::vouches(const Verify& question) {
  if (role_ != Role::kDialling || over_ || question.port != local_port_ ||
      !same(question.nonce, nonce_))
    return false;
  return !std::exchange(vouched_, true);
}

void Call::on_step(Handshake::Step step) {
  switch (step) {
    case Handshake::Step::kWait:
      return;
    case Handshake::Step::kVerify:
      return call_back();
    case Handshake::Step::kProved:
      return owner_.on_proved(*this);
    case Handshake::Step::kUp:
      loop_.forget(std::exchange(timer_, 0));
      over_ = true;
      if (role_ == Role::kDialling) channel_->send(owner_.info());
      return owner_.on_up(*this);
    case Handshake::Step::kFailed: {
      // Copied: bye() and the owner may end this object.
      const Failure failure{What::kBye, 0, handshake_->reason(), handshake_->why()};
      channel_->bye(failure.reason, failure.why);
      return fail(failure);
    }
  }
}

void Call::call_back() {
  const auto port = remote_endpoint(channel_->socket());
  Verify question;
  question.port = port ? port->port : std::uint16_t{0};
  question.nonce = handshake_->peer_hello().nonce;
  call_back_ = std::make_shared<CallBack>(*this, question);
  if (!call_back_->start()) return on_called_back(false);
  // Sooner than the caller gives up, so that it learns why.
  call_back_timer_ = loop_.after(setup_.bound / 2, [this] {
    call_back_timer_ = 0;
    on_called_back(false);
  });
}

void Call::on_called_back(bool yes) {
  const auto keep = shared_from_this();
  if (over_ || !call_back_) return;
  loop_.forget(std::exchange(call_back_timer_, 0));
  call_back_->dismiss();
  loop_.post([done = std::move(call_back_)] {});  // it is on the stack
  on_step(handshake_->verified(yes));
}

void Call::admit() {
  std::vector<Message> send;
  handshake_->admit(owner_.info(), send);
  for (const Message& out : send) channel_->send(out);
}

void Call::give_up(Reason reason, std::string_view why) {
  if (over_) return;
  if (channel_) channel_->bye(reason, why);
  stop();
}

void Call::on_end(Channel& /*channel*/, const End& end) {
  const auto keep = shared_from_this();
  switch (end.how) {
    case End::How::kBye:
      return fail({What::kBye, 0, end.reason, end.why});
    case End::How::kMisbehaved:
      return fail({What::kNotShunt, 0, end.reason, end.why});
    case End::How::kClosed:
      break;
  }
  if (end.error == 0 && role_ == Role::kDialled && !handshake_->heard_hello())
    return fail({What::kOver, 0, {}, "asked and closed"});
  fail({What::kNotShunt,
        end.error,
        {},
        end.error == 0 ? "closed during the handshake"
                       : describe(Error{end.error, "control connection"})});
}

void Call::on_late() {
  timer_ = 0;
  const auto keep = shared_from_this();
  if (!channel_) return fail({What::kSilent, ETIMEDOUT, {}, "does not answer"});
  fail({What::kNotShunt, ETIMEDOUT, {}, "connected, but the handshake took too long"});
}

void Call::fail(const Failure& failure) {
  if (over_) return;
  stop();
  owner_.on_failed(*this, failure);
}

}  // namespace shunt::control
