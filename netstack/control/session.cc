#include "netstack/control/session.h"

#include <algorithm>
#include <utility>

namespace shunt::control {

using Clock = EventLoop::Clock;
using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::seconds;

namespace {
constexpr std::uint32_t kPingsASecond = 50;  // ours: one each second, and one for a late answer
constexpr int kLate = 4;                     // parts of a ping's time; less is an ordinary delay

Offers::LinkName name_of(const Route& route) { return {route.kind, route.session}; }
}  // namespace

Session::Session(EventLoop& loop, Owner& owner, Delegate& delegate, const Options& options,
                 Setup setup, std::shared_ptr<Channel> channel)
    : owner_{owner},
      delegate_{delegate},
      options_{options},
      setup_{std::move(setup)},
      channel_{std::move(channel)},
      links_{loop,
             *this,
             {setup_.dialled, Endpoint{setup_.peer, options.port}, setup_.peer_info.pod,
              options.limits.early},
             options.fabrics,
             setup_.peer_info},
      offers_{
          loop,
          *this,
          {setup_.dialled, setup_.peer_info.offers, options.limits.offers, options.timing.answer}} {
}

Session::~Session() { channel_->close(); }

void Session::farewell() {
  ended_ = true;
  channel_->bye(Reason::kClosing, "the pod's shim ends");
}

void Session::start() {
  channel_->set_owner(*this);
  channel_->give_up_after(options_.timing.silence());
  links_.start();
  ping();  // for the round trip; and a peer that stopped right here is noticed
}

void Session::bye(Reason reason, std::string_view why) {
  if (std::exchange(ended_, true)) return;
  offers_.end_all();
  links_.end_all(std::string{why});
  channel_->bye(reason, why);
}

void Session::drop(const std::string& why) {
  if (std::exchange(ended_, true)) return;
  channel_->close();
  offers_.end_all();
  links_.end_all(why);
}

void Session::on_end(Channel& /*channel*/, const End& end) {
  if (std::exchange(ended_, true)) return;
  offers_.end_all();
  links_.end_all("the control connection ended");
  owner_.on_session_end(*this, end);
}

void Session::on_message(Channel& /*channel*/, Message message, View /*payload*/) {
  suspect_ = false;
  asked_.reset();
  std::visit([this](auto& one) { handle(one); }, message);
}

void Session::judge(Offers::Verdict verdict) {
  if (verdict == Offers::Verdict::kOk) return;
  const bool flood = verdict == Offers::Verdict::kFlood;
  channel_->misbehaved(flood ? Reason::kFlood : Reason::kProtocol,
                       flood ? "more than agreed" : "a message that breaks the rules");
}

// A peer speaks for connections between itself and us only.
bool Session::ours(const Endpoint& client, const Endpoint& server) const {
  return client.address == setup_.peer && server.address == setup_.self;
}

void Session::handle(Offer& offer) {
  if (!ours(offer.client, offer.server)) return judge(false);
  const auto up = links_.best({&offer.kind, 1});
  const Offers::LinkName link = up ? Offers::LinkName{up->kind, up->session} : Offers::LinkName{};
  const auto verdict = offers_.on_offer(link, offer.stream);
  if (verdict != Offers::Verdict::kOk) return judge(verdict);
  if (!up) return offers_.refuse(link, offer.stream, Refusal::kOther);  // it has just gone
  use();
  delegate_.on_offer(Route{setup_.peer, link.session, link.kind, offer.stream}, offer);
}

void Session::handle(const Confirm& confirm) {
  Offers::LinkName was;
  judge(offers_.on(confirm, was));
  if (was.session != 0)
    delegate_.on_confirm(Route{setup_.peer, was.session, was.kind, confirm.stream});
}

void Session::handle(const Withdraw& withdraw) {
  Offers::LinkName was;
  judge(offers_.on(withdraw, was));
  if (was.session != 0)
    delegate_.on_withdraw(Route{setup_.peer, was.session, was.kind, withdraw.stream});
}

void Session::handle(const Pass& pass) {
  if (!ours(pass.client, pass.server)) return judge(false);
  use();
  delegate_.on_pass(setup_.peer, pass.client, pass.server);
}

void Session::handle(const Ping& ping) {
  const auto now = Clock::now();
  if (now - ping_window_ >= seconds{1}) {
    ping_window_ = now;
    pings_heard_ = 0;
  }
  if (++pings_heard_ > kPingsASecond) return judge(Offers::Verdict::kFlood);
  channel_->send(Pong{ping.token});
}

void Session::handle(const Pong& pong) {
  if (pong.token != ping_token_) return;
  const auto took = duration_cast<microseconds>(Clock::now() - last_ping_);
  round_trip_ = round_trip_ ? (*round_trip_ * 7 + took) / 8 : took;
}

void Session::ping() {
  last_ping_ = Clock::now();
  if (!asked_) asked_ = last_ping_;
  channel_->send(Ping{++ping_token_});
}

void Session::use() {
  used_ = Clock::now();
  owner_.on_used(*this);
}

bool Session::in_use(Clock::time_point now) const {
  return now - used_ < options_.timing.recent || offers_.open() > 0 || links_.any_stream();
}

Clock::time_point Session::tick(Clock::time_point now, Clock::duration late) {
  const Timing& timing = options_.timing;
  if (ended_) return Clock::time_point::max();
  // We did not run (stopped, or the machine was): the peer was not silent, we were deaf.
  if (asked_ && late > timing.ping / kLate) *asked_ += late;
  const auto give_up = asked_ ? *asked_ + 2 * timing.ping : Clock::time_point::max();
  if (now >= give_up) {
    channel_->lost(ETIMEDOUT);
    return Clock::time_point::max();
  }
  // A program waits in accept(2) for that word.
  if (const auto since = offers_.undecided_since(); since && now - *since >= timing.decide) {
    channel_->misbehaved(Reason::kProtocol, "no word about a stream that was accepted");
    return Clock::time_point::max();
  }
  if (!in_use(now)) {
    const auto end = used_ + timing.idle;
    if (now < end) return std::min(end, give_up);
    const End idle{End::How::kBye, 0, Reason::kIdle, "unused"};
    bye(idle.reason, idle.why);
    owner_.on_session_end(*this, idle);
    return Clock::time_point::max();
  }
  links_.retry(now);
  const auto quiet_since = std::max(channel_->last_heard(), last_ping_);
  if (now - quiet_since >= timing.ping) {
    ping();
    return now + timing.ping;
  }
  return std::min(quiet_since + timing.ping, give_up);
}

Result<Route> Session::route(std::span<const Kind> only) {
  use();
  if (ended_ || suspect_) return Error{ENOTCONN, "route"};
  const auto up = links_.best(only);
  if (!up) return Error{ENOTCONN, "route"};
  const StreamId id = offers_.next();
  if (id == 0) return Error{ENOBUFS, "route"};
  return Route{setup_.peer, up->session, up->kind, id};
}

void Session::offer(const Route& route, Offer offer, Peers::Answered done) {
  use();
  if (ended_ || link(route) == nullptr) return done(Refusal::kLost);
  const Endpoint& client = offer.client;
  const Endpoint& server = offer.server;
  // The peer would end the connection for it; see ours().
  if (client.address != setup_.self || server.address != setup_.peer)
    return done(Refusal::kNotKnown);
  offer.stream = route.stream;
  offer.kind = route.kind;
  offers_.offer(name_of(route), std::move(offer), std::move(done));
}

void Session::confirm(const Route& route) {
  if (link(route) != nullptr) offers_.confirm(route.stream);
}
void Session::withdraw(const Route& route) {
  if (link(route) != nullptr) offers_.withdraw(route.stream);
}

void Session::pass(const Endpoint& client, const Endpoint& server) {
  if (ended_ || client.address != setup_.self || server.address != setup_.peer) return;
  use();
  ++passed_;
  channel_->send(Pass{client, server});
}

bool Session::accept(const Route& route, int server_family, Bytes message) {
  return offers_.accept(name_of(route), route.stream, server_family, std::move(message));
}
void Session::refuse(const Route& route, Refusal why) {
  offers_.refuse(name_of(route), route.stream, why);
}

void Session::on_link_up(Kind kind, std::uint64_t session) {
  delegate_.on_link_up(setup_.peer, session, kind);
  owner_.on_links(*this);
}

void Session::on_link_down(Kind kind, std::uint64_t session) {
  offers_.end({kind, session});
  delegate_.on_link_down(setup_.peer, session, kind);
  owner_.on_links(*this);
}

// A peer that has said anything since is slow, not dead.
void Session::on_no_answer(Clock::time_point since) {
  if (channel_->last_heard() > since) return;
  suspect_ = true;
  if (!asked_) ping();
}

void Session::fill(PeerView& view) const {
  view.state = State::kShunt;
  view.phase = "up";
  view.node = setup_.peer_info.node;
  view.pod = setup_.peer_info.pod;
  view.dialled = setup_.dialled;
  view.version = setup_.version;
  view.since = since_;
  view.round_trip = round_trip_;
  view.fabrics = links_.view();
  const Offers::Counts& counts = offers_.counts();
  view.offered = counts.offered;
  view.accepted = counts.accepted;
  view.refused = counts.refused;
  view.unanswered = counts.unanswered;
  view.asked = counts.asked;
  view.granted = counts.granted;
  view.passed = passed_;
  view.frames_in = channel_->frames_in();
  view.frames_out = channel_->frames_out();
}

}  // namespace shunt::control
