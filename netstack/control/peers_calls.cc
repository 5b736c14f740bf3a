#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "netstack/base/log.h"
#include "netstack/control/dial.h"
#include "netstack/control/peers_impl.h"

namespace shunt::control {

using std::chrono::milliseconds;
using What = Failure::What;

namespace {
constexpr const char* kModule = "control";
constexpr int kAcceptAtOnce = 16;
constexpr milliseconds kPauseWithoutDescriptors{100};

std::uint64_t random_number() {
  const Nonce nonce = fresh_nonce();
  std::uint64_t number = 0;
  std::memcpy(&number, nonce.data(), sizeof number);
  return number;
}

// What the peer would say again if it were asked again soon.
bool is_settled(const Failure& failure) {
  if (failure.what == What::kNotShunt) return true;
  return failure.what == What::kBye && failure.reason != Reason::kDuplicate &&
         failure.reason != Reason::kBusy && failure.reason != Reason::kClosing;
}
}  // namespace

Peers::Impl::Impl(EventLoop& loop, Options options, Delegate& delegate)
    : loop_{loop},
      options_{std::move(options)},
      delegate_{delegate},
      instance_{random_number()},
      not_shunt_{options_.timing.forget, options_.limits.not_shunt} {}

Peers::Impl::~Impl() {
  for (const auto watch : watches_) loop_.forget(watch);
  loop_.forget(tick_timer_);
  for (auto& [address, peer] : peers_) {
    loop_.forget(peer.redial);
    loop_.forget(peer.parking);
    for (const Waiter& waiter : peer.waiters) loop_.forget(waiter.timer);
    if (peer.session) peer.session->farewell();
  }
}

Status Peers::Impl::listen() {
  for (const IpAddress& address : options_.addresses) {
    auto listener = listen_alone(options_.netns, {address, options_.port});
    if (!listener) return listener.error();
    listeners_.push_back(std::move(*listener));
  }
  watches_.resize(listeners_.size());
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    const int fd = listeners_[i].get();
    const auto watch =
        loop_.watch(fd, EPOLLIN, [this, fd, i](std::uint32_t) { on_acceptable(fd, i); });
    if (!watch) return watch.error();
    watches_[i] = *watch;
  }
  return Done{};
}

void Peers::Impl::on_acceptable(int listener, std::size_t index) {
  for (int i = 0; i < kAcceptAtOnce; ++i) {
    UniqueFd socket{::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (socket.valid()) {
      // So that what is left of this connection does not keep a later shim of the pod from
      // listening: see listen_alone().
      const int on = 1;
      [[maybe_unused]] const int ignored =
          ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      take(std::move(socket));
      continue;
    }
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
    // The call stays in the queue and would wake us again and again.
    if (!loop_.rearm(watches_[index], 0)) return;
    loop_.after(kPauseWithoutDescriptors, [this, index, alive = std::weak_ptr<int>{alive_}] {
      if (!alive.expired()) [[maybe_unused]]
        const Status again = loop_.rearm(watches_[index], EPOLLIN);
    });
    return;
  }
}

Call::Setup Peers::Impl::call_setup() const {
  Call::Setup setup;
  setup.netns = options_.netns;
  setup.port = options_.port;
  setup.key = options_.key;
  setup.instance = instance_;
  setup.bound = options_.timing.handshake;
  setup.limits.queue = options_.limits.queue;
  return setup;
}

void Peers::Impl::take(UniqueFd socket) {
  ++counters_.accepted;
  const auto from = remote_endpoint(socket.get());
  if (!from) return;  // gone already
  const auto same_address =
      std::count_if(strangers_.begin(), strangers_.end(),
                    [&](const auto& entry) { return entry.first->peer() == from->address; });
  if (strangers_.size() >= options_.limits.strangers ||
      static_cast<std::size_t>(same_address) >= options_.limits.strangers_each) {
    ++counters_.crowded;
    return;
  }
  auto call = std::make_shared<Call>(loop_, *this, call_setup());
  if (call->answer(std::move(socket))) strangers_.emplace(call.get(), call);
}

Info Peers::Impl::info() {
  Info mine;
  mine.node = options_.self.node;
  mine.epoch = options_.self.epoch;
  mine.pod = options_.self.pod;
  mine.offers = options_.limits.offers;
  for (const fabric::Fabric* fabric : options_.fabrics) {
    Bytes advert = fabric->advertise();
    if (advert.size() <= kMaxAdvert && mine.fabrics.size() < kMaxFabrics)
      mine.fabrics.push_back({fabric->kind(), std::move(advert)});
  }
  return mine;
}

// The peer calls back to where a call came from, so it must be an address that we listen on. With
// several of the family the route knows best.
IpAddress Peers::Impl::source_for(const IpAddress& peer) const {
  IpAddress source{};
  for (const IpAddress& own : options_.addresses) {
    if (is_v4(own) != is_v4(peer)) continue;
    if (source != IpAddress{}) return {};
    source = own;
  }
  return source;
}

void Peers::Impl::start_call(const IpAddress& address, Peer& peer) {
  if (dials_ >= options_.limits.dials) {
    ++counters_.crowded;
    return call_failed(address, {What::kLocal, EAGAIN, {}, "too many calls at once"});
  }
  ++counters_.dials;
  auto call = std::make_shared<Call>(loop_, *this, call_setup());
  if (Status started = call->dial(source_for(address), address); !started)
    return call_failed(address, failure_of(started.error()));
  ++dials_;
  peer.out = std::move(call);
}

bool Peers::Impl::vouches(const Verify& question, const IpAddress& from) {
  const auto found = peers_.find(from);
  return found != peers_.end() && found->second.out && found->second.out->vouches(question);
}

// The caller is who it says. WIRE.md, "Both call each other".
void Peers::Impl::on_proved(Call& call) {
  const auto node = strangers_.extract(&call);
  if (node.empty()) return;
  const std::shared_ptr<Call> held = node.mapped();
  const IpAddress address = call.peer();
  if (const auto* entry = not_shunt_.find(address, Clock::now()); entry && entry->banned)
    return call.give_up(Reason::kBusy, "has misbehaved a short while ago");

  auto found = peers_.find(address);
  if (found == peers_.end()) {
    if (!make_room()) return call.give_up(Reason::kBusy, "has too many peers");
    found = peers_.try_emplace(address).first;
  }
  Peer& peer = found->second;
  if (peer.session) {
    const bool same_shim =
        peer.session->setup().peer_instance == call.handshake().peer_hello().instance;
    if (same_shim && Clock::now() - peer.session->since() < 2 * options_.timing.handshake)
      return call.give_up(Reason::kDuplicate, "another connection is up");
    lose(address, peer, "the peer calls anew");
  }
  const auto again = peers_.find(address);  // the delegate may have done anything meanwhile
  if (again == peers_.end()) return call.give_up(Reason::kBusy, "try again");
  if (again->second.out && call.self() < address) return park(address, again->second, held);
  admit(again->second, held);
}

// Ours goes first. It does not for ever: where policy drops it, it would time out no sooner than
// the other one.
void Peers::Impl::park(const IpAddress& address, Peer& peer, std::shared_ptr<Call> call) {
  if (peer.parked) peer.parked->give_up(Reason::kDuplicate, "called again");
  peer.parked = std::move(call);
  loop_.forget(peer.parking);
  peer.parking =
      loop_.after(options_.timing.handshake / 4, [this, address] { on_parked(address); });
}

void Peers::Impl::on_parked(const IpAddress& address) {
  const auto found = peers_.find(address);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  peer.parking = 0;
  if (!peer.parked || !peer.out) return;
  peer.out->give_up(Reason::kDuplicate, "the other call is further");
  peer.out.reset();
  --dials_;
  admit(peer, std::exchange(peer.parked, {}));
}

void Peers::Impl::admit(Peer& peer, std::shared_ptr<Call> call) {
  if (peer.admitted) peer.admitted->give_up(Reason::kDuplicate, "called again");
  peer.admitted = std::move(call);
  peer.admitted->admit();
}

void Peers::Impl::on_up(Call& call) {
  const IpAddress address = call.peer();
  const auto found = peers_.find(address);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  if (peer.out) --dials_;
  for (auto* other : {&peer.out, &peer.admitted, &peer.parked}) {
    if (*other && other->get() != &call)
      (*other)->give_up(Reason::kDuplicate, "another connection is up");
    other->reset();
  }
  loop_.forget(std::exchange(peer.redial, 0));
  loop_.forget(std::exchange(peer.parking, 0));
  not_shunt_.drop(address);
  peer.lost = false;
  peer.why.clear();
  peer.pause = {};

  Session::Setup setup;
  setup.self = call.self();
  setup.peer = address;
  setup.dialled = call.dialled_by_us();
  setup.version = call.handshake().version();
  setup.peer_instance = call.handshake().peer_hello().instance;
  setup.peer_info = call.handshake().peer_info();
  setup.connect_time = call.connect_time();
  log::debug(kModule, "peer {} is up: {} on {}", to_text(address), setup.peer_info.pod,
             setup.peer_info.node);
  peer.session = std::make_unique<Session>(loop_, *this, delegate_, options_, std::move(setup),
                                           call.take_channel());
  Session& session = *peer.session;
  tick_by(Clock::now() + options_.timing.ping);
  tell(address, peer, State::kShunt);
  session.start();
  on_links(session);
}

void Peers::Impl::count(const Call& call, const Failure& failure) {
  if (failure.what == What::kRefused) ++counters_.refused;
  if (failure.what == What::kSilent) ++counters_.silent;
  if (failure.what != What::kBye) return;
  if (failure.reason == Reason::kVersion) ++counters_.version;
  if (failure.reason == Reason::kKey) ++counters_.wrong_key;
  if (failure.reason == Reason::kNotVerified && !call.dialled_by_us()) ++counters_.forged;
}

void Peers::Impl::on_failed(Call& call, const Failure& failure) {
  count(call, failure);
  if (!call.dialled_by_us()) return incoming_failed(call, failure);
  const IpAddress address = call.peer();
  const auto found = peers_.find(address);
  if (found == peers_.end() || found->second.out.get() != &call) return;
  found->second.out.reset();
  --dials_;
  call_failed(address, failure);
}

void Peers::Impl::incoming_failed(Call& call, const Failure& /*failure*/) {
  if (strangers_.erase(&call) != 0) return;
  const IpAddress address = call.peer();
  const auto found = peers_.find(address);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  if (peer.parked.get() == &call) peer.parked.reset();
  if (peer.admitted.get() == &call) peer.admitted.reset();
  if (peer.out || peer.admitted || peer.session) return;
  if (!peer.waiters.empty() || (peer.lost && peer.redial == 0)) return start_call(address, peer);
  erase_if_idle(address);
}

// Our call came to nothing, or could not even be made.
void Peers::Impl::call_failed(const IpAddress& address, const Failure& failure) {
  const auto found = peers_.find(address);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  if (peer.parked) return admit(peer, std::exchange(peer.parked, {}));
  if (peer.admitted || peer.session) return;
  log::debug(kModule, "peer {}: {}", to_text(address), sentence(failure));
  const auto now = Clock::now();
  peer.why = sentence(failure);
  const bool race = failure.what == What::kBye && failure.reason == Reason::kDuplicate;
  if (race && !peer.lost) {
    peer.lost = true;
    peer.used = now;
  }
  if (peer.lost && !is_settled(failure) && now - peer.used < options_.timing.recent) {
    tell(address, peer, State::kNot);
    call_again_later(address, peer);
    return settle(address, State::kNot);
  }
  const State outcome = failure.what == What::kLocal ? State::kUnknown : State::kNot;
  if (outcome == State::kNot) not_shunt_.put(address, failure, false, now);
  peer.lost = false;
  tell(address, peer, outcome);
  settle(address, outcome);
  erase_if_idle(address);
}

void Peers::Impl::call_again_later(const IpAddress& address, Peer& peer) {
  peer.pause = std::clamp(peer.pause * 2, options_.timing.redial, options_.timing.redial_max);
  // Up to half as much again, so that those who lost the same peer do not all call at once.
  const milliseconds jitter{static_cast<std::int64_t>(random_number() % 1024) * peer.pause.count() /
                            2048};
  loop_.forget(peer.redial);
  peer.redial = loop_.after(peer.pause + jitter, [this, address] {
    const auto found = peers_.find(address);
    if (found == peers_.end()) return;
    found->second.redial = 0;
    if (!found->second.out && !found->second.admitted && !found->second.session)
      start_call(address, found->second);
  });
}

void Peers::Impl::bury(Peer& peer) {
  graveyard_.push_back(std::move(peer.session));
  if (graveyard_.size() > 1) return;  // posted already
  loop_.post([this, alive = std::weak_ptr<int>{alive_}] {
    if (alive.expired()) return;
    const auto dead = std::exchange(graveyard_, {});
  });
}

// The peer has proved that the connection we believe in is gone.
void Peers::Impl::lose(const IpAddress& address, Peer& peer, const std::string& why) {
  ++counters_.lost;
  peer.session->drop(why);
  bury(peer);
  delegate_.on_lost(address);
  if (const auto still = peers_.find(address); still != peers_.end())
    tell(address, still->second, State::kUnknown);
}

void Peers::Impl::on_session_end(Session& session, const End& end) {
  const IpAddress address = session.setup().peer;
  const auto found = peers_.find(address);
  if (found == peers_.end() || found->second.session.get() != &session) return;
  Peer& peer = found->second;
  const auto now = Clock::now();
  const bool used = session.in_use(now);
  peer.used = used ? now : session.last_used();
  bury(peer);

  Failure failure{What::kNotShunt, end.error, end.reason, end.why};
  if (end.how != End::How::kClosed) failure.what = What::kBye;
  State state = State::kUnknown;
  if (end.how == End::How::kMisbehaved) {
    ++counters_.misbehaved;
    log::warn(kModule, "peer {} misbehaved, no upgrades with it for a while: {}", to_text(address),
              end.why);
    not_shunt_.put(address, failure, true, now);
    state = State::kNot;
  } else if (end.how == End::How::kBye) {
    if (end.reason != Reason::kIdle && end.reason != Reason::kDuplicate) {
      not_shunt_.put(address, failure, false, now);
      state = State::kNot;
    }
  } else {
    ++counters_.lost;
    peer.why = end.error == 0 ? "the peer closed the control connection"
                              : "the control connection ended: " + errno_name(end.error);
    log::info(kModule, "peer {} is lost: {}", to_text(address), peer.why);
    if (used) {
      peer.lost = true;
      state = State::kNot;
      call_again_later(address, peer);
    }
  }
  delegate_.on_lost(address);
  if (const auto still = peers_.find(address); still != peers_.end()) {
    tell(address, still->second, state);
    settle(address, state);
    erase_if_idle(address);
  }
}

void Peers::Impl::on_links(Session& session) {
  if (session.ready()) settle(session.setup().peer, State::kShunt);
}

void Peers::Impl::on_used(Session& /*session*/) { tick_by(Clock::now() + options_.timing.ping); }

void Peers::Impl::tick_by(Clock::time_point when) {
  if (when >= tick_at_) return;
  loop_.forget(tick_timer_);
  tick_at_ = when;
  tick_timer_ = loop_.after(when - Clock::now(), [this] { tick(); });
}

// One timer for all: with nothing in use it is minutes away.
void Peers::Impl::tick() {
  const auto now = Clock::now();
  const auto late = now - tick_at_;
  tick_timer_ = 0;
  tick_at_ = Clock::time_point::max();
  std::vector<IpAddress> up;
  for (const auto& [address, peer] : peers_)
    if (peer.session) up.push_back(address);
  auto next = Clock::time_point::max();
  for (const IpAddress& address : up)
    if (Session* one = session(address)) next = std::min(next, one->tick(now, late));
  if (next != Clock::time_point::max()) tick_by(next);
}

}  // namespace shunt::control
