#include "netstack/control/peers.h"

#include <algorithm>
#include <utility>

#include "netstack/control/peers_impl.h"

namespace shunt::control {

namespace {
constexpr std::size_t kShownNotShunt = 100;
constexpr std::size_t kShortestKey = 16;
}  // namespace

Result<std::unique_ptr<Peers>> Peers::open(EventLoop& loop, Options options, Delegate& delegate) {
  if (options.addresses.empty()) return Error{EADDRNOTAVAIL, "no address to listen on"};
  if (!options.key.empty() && options.key.size() < kShortestKey)
    return Error{EINVAL, "the cluster key is shorter than 16 bytes"};
  auto impl = std::make_unique<Impl>(loop, std::move(options), delegate);
  if (Status listening = impl->listen(); !listening) return listening.error();
  return std::unique_ptr<Peers>{new Peers{std::move(impl)}};
}

Peers::Peers(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
Peers::~Peers() = default;

State Peers::state(const IpAddress& peer) const { return impl_->state(peer); }
void Peers::discover(const IpAddress& peer, Discovered done) {
  impl_->discover(peer, std::move(done));
}
PeersView Peers::view() const { return impl_->view(); }
bool Peers::owes() const { return impl_->owes(); }

Result<Route> Peers::route(const IpAddress& peer, std::span<const Kind> only) {
  Session* session = impl_->session(peer);
  if (session == nullptr) return Error{ENOTCONN, "route"};
  return session->route(only);
}

fabric::Link* Peers::link(const Route& route) {
  const Session* session = impl_->session(route.peer);
  return session == nullptr ? nullptr : session->link(route);
}

void Peers::offer(const Route& route, Offer offer, Answered done) {
  Session* session = impl_->session(route.peer);
  if (session == nullptr) return done(Refusal::kLost);
  session->offer(route, std::move(offer), std::move(done));
}

void Peers::confirm(const Route& route) {
  if (Session* session = impl_->session(route.peer)) session->confirm(route);
}

void Peers::withdraw(const Route& route) {
  if (Session* session = impl_->session(route.peer)) session->withdraw(route);
}

void Peers::pass(const IpAddress& peer, const Endpoint& client, const Endpoint& server) {
  if (Session* session = impl_->session(peer)) session->pass(client, server);
}

bool Peers::accept(const Route& route, int server_family, Bytes message) {
  Session* session = impl_->session(route.peer);
  return session != nullptr && session->accept(route, server_family, std::move(message));
}

void Peers::refuse(const Route& route, Refusal why) {
  if (Session* session = impl_->session(route.peer)) session->refuse(route, why);
}

bool Peers::Impl::is_self(const IpAddress& address) const {
  const auto& own = options_.addresses;
  return std::find(own.begin(), own.end(), address) != own.end();
}

State Peers::Impl::state(const IpAddress& address) const {
  const auto found = peers_.find(address);
  if (found != peers_.end() && found->second.session) return State::kShunt;
  if (found != peers_.end() && found->second.lost) return State::kNot;
  if (is_self(address) || not_shunt_.find(address, Clock::now()) != nullptr) return State::kNot;
  return State::kUnknown;
}

Session* Peers::Impl::session(const IpAddress& address) const {
  const auto found = peers_.find(address);
  return found == peers_.end() ? nullptr : found->second.session.get();
}

bool Peers::Impl::owes() const {
  return std::any_of(peers_.begin(), peers_.end(), [](const auto& entry) {
    return entry.second.session && entry.second.session->owes();
  });
}

void Peers::Impl::discover(const IpAddress& address, Discovered done) {
  const auto now = Clock::now();
  if (is_self(address)) return done(State::kNot);
  const auto known = peers_.find(address);
  if (known != peers_.end() && known->second.session && known->second.session->ready())
    return done(State::kShunt);
  if (known != peers_.end() && known->second.lost) known->second.used = now;  // worth calling again
  if (state(address) == State::kNot) return done(State::kNot);
  if (known == peers_.end() && !make_room()) return done(State::kUnknown);

  Peer& peer = peers_[address];
  const auto timer = loop_.after(options_.timing.wait, [this, address] { on_waited(address); });
  peer.waiters.push_back({std::move(done), timer});
  if (!peer.session && !peer.out && !peer.admitted) start_call(address, peer);
}

// The first of those who wait has waited for long enough: the others came for the same answer.
void Peers::Impl::on_waited(const IpAddress& address) {
  const auto found = peers_.find(address);
  if (found == peers_.end()) return;
  if (found->second.session) return settle(address, State::kShunt);
  not_shunt_.put(address, {Failure::What::kSilent, ETIMEDOUT, {}, {}}, false, Clock::now());
  tell(address, found->second, State::kNot);
  settle(address, State::kNot);
}

void Peers::Impl::settle(const IpAddress& address, State state) {
  const auto found = peers_.find(address);
  if (found == peers_.end()) return;
  auto waiters = std::exchange(found->second.waiters, {});
  for (const Waiter& waiter : waiters) loop_.forget(waiter.timer);
  for (Waiter& waiter : waiters) waiter.done(state);
}

void Peers::Impl::tell(const IpAddress& address, Peer& peer, State state) {
  if (std::exchange(peer.told, state) == state) return;
  peer.since = Clock::now();
  delegate_.on_state(address, state);
}

void Peers::Impl::erase_if_idle(const IpAddress& address) {
  const auto found = peers_.find(address);
  if (found == peers_.end() || !found->second.idle() || !found->second.waiters.empty()) return;
  loop_.forget(found->second.parking);
  peers_.erase(found);
}

// For one more peer. An unused one goes for it: it is found again when it is needed.
bool Peers::Impl::make_room() {
  if (peers_.size() < options_.limits.peers) return true;
  const auto now = Clock::now();
  Session* oldest = nullptr;
  for (const auto& [address, peer] : peers_)
    if (peer.session && peer.waiters.empty() && !peer.session->in_use(now) &&
        (oldest == nullptr || peer.session->last_used() < oldest->last_used()))
      oldest = peer.session.get();
  if (oldest == nullptr) {
    ++counters_.crowded;
    return false;
  }
  const End idle{End::How::kBye, 0, Reason::kIdle, "makes room for another peer"};
  oldest->bye(idle.reason, idle.why);
  on_session_end(*oldest, idle);
  return true;
}

PeersView Peers::Impl::view() const {
  PeersView all;
  all.counters = counters_;
  for (const auto& [address, peer] : peers_) {
    PeerView one;
    one.address = address;
    one.state = state(address);
    one.since = peer.since;
    one.why = peer.why;
    if (peer.session)
      peer.session->fill(one);
    else
      one.phase = peer.out ? "calling" : peer.admitted || peer.parked ? "answering" : "lost";
    all.peers.push_back(std::move(one));
  }
  const auto now = Clock::now();
  const auto& entries = not_shunt_.entries();
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    if (not_shunt_.find(entry->address, now) == nullptr) break;  // older ones are over, too
    ++all.not_shunt_total;
    if (all.not_shunt.size() == kShownNotShunt) continue;
    PeerView one;
    one.address = entry->address;
    one.state = State::kNot;
    one.phase = entry->banned ? "banned" : "not Shunt";
    one.why = sentence(entry->failure);
    one.since = entry->since;
    all.not_shunt.push_back(std::move(one));
  }
  return all;
}

}  // namespace shunt::control
