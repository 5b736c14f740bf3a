// The server's half across nodes.
//
// An offer is granted only for a connection that this pod's kernel knows, from the address of the
// peer that makes the offer, to a published listener. The server's end then lies in the listener's
// mailbox, with a word beside it that says what the client's shim has decided since.
//
// A program that accepts the TCP connection first waits a little for the offer; when it goes ahead
// without, that is marked under the mutex that also guards what is put into mailboxes, so exactly
// one of the two happens.

#include <sys/socket.h>

#include <algorithm>

#include "netstack/base/log.h"
#include "netstack/host/host_fabric.h"
#include "sandbox/listeners.h"
#include "sandbox/remote.h"

namespace shunt::sandbox {
namespace {

using control::Refusal;
using control::Route;
using fabric::Kind;
using local::Decision;
using namespace std::chrono_literals;

constexpr auto kPassLife = 1s;  // between PASS and the accept it is about
// A busy machine: two nodes' shims have to get their turns. It is only used up where no word comes
// at all, and that not often: see Patience.
constexpr auto kPatience = 100ms;  // with an accepted connection that no offer has come for
constexpr auto kMarkLife = 3s;     // longer than any offer is under way
constexpr std::size_t kMostMarks = 16384;
constexpr std::size_t kFewMarks = 64;  // are not worth looking through
constexpr auto kNotYet = 300us;        // the last packet of the handshake may be under way
constexpr std::int64_t kTries = 24;
constexpr int kVain = 3;
constexpr std::chrono::milliseconds kLongestPause{60'000};

}  // namespace

struct Remote::Incoming {
  Route route;
  control::Offer offer;
  std::shared_ptr<local::Mailbox> mailbox;
  std::uint64_t turns = 0;  // of the mailbox, before the kernel was asked
  int family = AF_INET;     // of the server's socket
  int tries = 0;
  local::FastName name() const {
    local::FastName name;  // without a namespace: it is of another node
    name.client_family = offer.client_family;
    name.server_family = family;
    name.client = offer.client;
    name.server = offer.server;
    name.service = offer.service;
    return name;
  }
};

void Remote::on_offer(const Route& route, const control::Offer& offer) {
  auto incoming = std::make_shared<Incoming>();
  incoming->route = route;
  incoming->offer = offer;
  const auto& own = network_.addresses();
  // A peer speaks for its own connections to us only.
  if (offer.client.address != route.peer || offer.client.port == 0 ||
      std::find(own.begin(), own.end(), offer.server.address) == own.end()) {
    peers_->refuse(route, Refusal::kNotKnown);
    return;
  }
  {
    const std::lock_guard guard{offers_mutex_};
    patience_.erase(route.peer);
    no_offers_.end_soon(route.peer, offer.server, Clock::now());
  }
  consider(incoming);
}

// If they are left to the kernel.
void Remote::want_accepts_back(const control::Offer& offer) {
  network_.table().want(network_.table().own_slot(), offer.server.port, offer.client.address);
}

// Whoever has accepted the connection need not wait for an offer any more.
void Remote::turn_down(const Incoming& incoming, Refusal why) {
  peers_->refuse(incoming.route, why);
  {
    const std::lock_guard guard{offers_mutex_};
    const auto found = marks_.find({incoming.offer.client, incoming.offer.server});
    if (found == marks_.end() || found->second.mark != Mark::kExpected) return;
    found->second.mark = Mark::kPassed;
  }
  options_.nudge();
}

void Remote::consider(const std::shared_ptr<Incoming>& incoming) {
  const control::Offer& offer = incoming->offer;
  // First: if its accepts are, or have been, left to the kernel since, nothing can be put there.
  struct Box {
    std::shared_ptr<local::Mailbox> mailbox;
    std::uint64_t turns = 0;
  };
  const auto look = [&](int family) {
    auto mailbox = services_.listeners.mailbox(offer.server.port, family);
    const std::uint64_t turns = mailbox == nullptr ? 0 : mailbox->turns();
    return Box{std::move(mailbox), turns};
  };
  const Box v4 = look(AF_INET);
  const Box v6 = look(AF_INET6);
  std::optional<local::TcpState> state;
  bool ahead = false;
  bool later = false;  // it is being accepted by somebody who has not said yet that it is expected
  {
    // Under the mutex: a mark that lies here for a connection nobody has accepted is of an older
    // one with the same ports.
    const std::lock_guard guard{offers_mutex_};
    state = network_.look_up(*network_.self(), offer.server, offer.client);
    const auto found = marks_.find({offer.client, offer.server});
    if (state && state->inode == 0 && found != marks_.end() &&
        found->second.mark == Mark::kGoneAhead)
      marks_.erase(found);
    if (state && state->inode != 0 &&
        (found == marks_.end() || found->second.mark != Mark::kExpected)) {
      ahead = true;
      later = (found == marks_.end() || !is_ahead(found->second)) && accepting_.load() != 0;
    }
  }
  // Not known may mean: not yet. The last packet of the handshake is under way.
  const bool unknown = !state || !state->established;
  if (unknown || ahead) {
    if ((unknown || later) && ++incoming->tries < bound(kTries)) {
      loop_.after(kNotYet, [this, incoming] { consider(incoming); });
    } else {
      // Perhaps its listener's accepts are left to the kernel.
      if (!unknown) want_accepts_back(offer);
      turn_down(*incoming, unknown ? Refusal::kNotKnown : Refusal::kGoneAhead);
    }
    return;
  }
  incoming->family = state->family;
  const Box& box = state->family == AF_INET ? v4 : v6;
  incoming->mailbox = box.mailbox;
  incoming->turns = box.turns;
  if (incoming->mailbox == nullptr) {
    turn_down(*incoming, Refusal::kNotListening);
    return;
  }
  if (incoming->route.kind == Kind::kHost &&
      services_.listeners.privileged(offer.server.port, state->family)) {
    turn_down(*incoming, Refusal::kOther);
    return;
  }
  fabric::Link* link = peers_->link(incoming->route);
  if (link == nullptr) return;
  link->accept(
      incoming->route.stream, offer.message,
      [this, incoming] { return make_server_ends(*incoming); },
      [this, incoming](Result<fabric::Half> half) { granted(incoming, std::move(half)); });
}

// As with a client of this node, the end that is kept bears the name, and the program's end the
// name of a mailbox: one of ours, so that nobody takes it out before there is a decision beside it.
Result<fabric::Ends> Remote::make_server_ends(const Incoming& incoming) {
  return join_ends(incoming.name(), mailbox_.get());
}

void Remote::granted(const std::shared_ptr<Incoming>& incoming, Result<fabric::Half> half) {
  const Route& route = incoming->route;
  const auto give_up = [&](Refusal why) {
    half = Error{ECANCELED, ""};
    if (fabric::Link* link = peers_->link(route)) link->abandon(route.stream);
    turn_down(*incoming, why);
  };
  if (!half) {
    log::debug("sandbox", "offer of {}: {}", to_text(route.peer), describe(half.error()));
    const int error = half.error().number;
    return give_up(error == ENOBUFS || error == EMFILE || error == EAGAIN ? Refusal::kNoRoom
                                                                          : Refusal::kOther);
  }
  const local::FastName name = incoming->name();
  local::Offer offer;
  offer.client = name.client;
  offer.server = name.server;
  offer.kind = local::PairKind::kUnix;
  if (route.kind == Kind::kHost) {
    offer.kind = local::PairKind::kTcp;
    const int socket = half->application.get();
    local::stamp(socket);
    if (!host::as_family(socket, incoming->family) || !sockets_.add(socket, {name, false}))
      return give_up(Refusal::kOther);
    // Closed before anybody has accepted it, it is reset, as Linux does. Undone when it is handed
    // out.
    const linger at_once{1, 0};
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  } else {
    remember_stream(name, false, route.kind);
    offer.unclaimed = [list = unclaimed_, route](UniqueFd socket) {
      const std::lock_guard guard{list->mutex};
      list->streams.emplace_back(route, std::move(socket));
    };
  }
  const auto decision = std::make_shared<std::atomic<Decision>>(Decision::kPending);
  offer.decision = decision;
  offer.socket = std::move(half->application);
  bool ahead = false;
  bool put = false;
  {
    const std::lock_guard guard{offers_mutex_};
    const auto found = marks_.find({name.client, name.server});
    ahead = found != marks_.end() && is_ahead(found->second);
    if (!ahead) put = incoming->mailbox->put(std::move(offer), incoming->turns);
    if (put && found != marks_.end()) marks_.erase(found);
  }
  if (!put && !ahead) want_accepts_back(incoming->offer);
  // Not under the mutex: to refuse takes it as well.
  if (!put) return give_up(ahead ? Refusal::kGoneAhead : Refusal::kBusy);
  decisions_[{route.session, route.stream}] = {{name.client, name.server}, decision};
  if (!peers_->accept(route, incoming->family, std::move(half->message)))
    decide(route, Decision::kWithdrawn);
}

void Remote::decide(const Route& route, Decision decision) {
  const auto found = decisions_.find({route.session, route.stream});
  if (found == decisions_.end()) return;
  found->second.decision->store(decision);
  decisions_.erase(found);
  if (decision == Decision::kWithdrawn)
    if (fabric::Link* link = peers_->link(route)) link->abandon(route.stream);
  // The reset of the TCP connection, which comes with the confirmation, wakes whoever waits.
  if (decision != Decision::kConfirmed) options_.nudge();
}

void Remote::reset_unclaimed() {
  std::vector<std::pair<Route, UniqueFd>> streams;
  {
    const std::lock_guard guard{unclaimed_->mutex};
    streams.swap(unclaimed_->streams);
  }
  // First the stream, then its socket: the other way round it would be an orderly end.
  for (const auto& [route, socket] : streams)
    if (fabric::Link* link = peers_->link(route)) link->abandon(route.stream);
}

void Remote::on_confirm(const Route& route) { decide(route, Decision::kConfirmed); }
void Remote::on_withdraw(const Route& route) { decide(route, Decision::kWithdrawn); }

void Remote::on_link_down(const IpAddress& peer, std::uint64_t session, Kind kind) {
  log::debug("sandbox", "{}: {} is down", to_text(peer), fabric::name(kind));
  bool any = false;
  for (auto entry = decisions_.begin(); entry != decisions_.end();) {
    if (entry->first.first != session) {
      ++entry;
      continue;
    }
    entry->second.decision->store(Decision::kLost);
    entry = decisions_.erase(entry);
    any = true;
  }
  if (any) options_.nudge();
}

void Remote::on_pass(const IpAddress& peer, const Endpoint& client, const Endpoint& server) {
  if (client.address != peer) return;
  {
    const std::lock_guard guard{offers_mutex_};
    patience_.erase(peer);
    if (client.port != 0) {
      mark({client, server}, Mark::kPassed);
    } else {
      pass_all_of(peer, server);
    }
  }
  options_.nudge();
}

// For those that wait now, and those that come in the next time.
void Remote::pass_all_of(const IpAddress& peer, const Endpoint& server) {
  no_offers_.add(peer, server, Clock::now());
  for (auto at = marks_.lower_bound({{peer, 0}, {}}); at != marks_.end(); ++at) {
    if (at->first.first.address != peer) break;
    if (at->first.second == server && at->second.mark == Mark::kExpected)
      at->second.mark = Mark::kPassed;
  }
  network_.table().spare(network_.table().own_slot(), server.port, peer);
}

// Those of connections that no offer will ever come for are left to this.
bool Remote::is_young(const Marked& marked, Clock::time_point now) const {
  return now - marked.at < bound(kMarkLife);
}

// Old ones are of another connection with the same ports.
bool Remote::is_ahead(const Marked& marked) const {
  return marked.mark == Mark::kGoneAhead && is_young(marked, Clock::now());
}

void Remote::mark(const Tuple& tuple, Mark mark) {
  const auto now = Clock::now();
  if (marks_.size() >= std::max(kFewMarks, prune_marks_at_)) {
    std::erase_if(marks_, [&](const auto& entry) { return !is_young(entry.second, now); });
    if (marks_.size() >= kMostMarks) marks_.clear();
    prune_marks_at_ = marks_.size() * 2;
  }
  marks_[tuple] = {mark, now};
}

std::optional<local::Offer> Remote::take(local::Mailbox& mailbox, const Endpoint& client,
                                         const Endpoint& server) {
  const std::lock_guard guard{offers_mutex_};
  auto offer = mailbox.take_put(client, server);
  if (offer) marks_.erase({client, server});  // no other will come for this connection
  return offer;
}

bool Remote::impatient(const IpAddress& client) const {
  const auto found = patience_.find(client);
  return found != patience_.end() && found->second.vain >= kVain &&
         Clock::now() < found->second.resume;
}

bool Remote::expect(const Endpoint& client, const Endpoint& server) {
  const std::lock_guard guard{offers_mutex_};
  if (no_offers_.holds(client.address, server, Clock::now())) return false;
  if (impatient(client.address)) return true;
  // What lies here may be of an older connection with the same ports; PASS may have come first.
  const auto found = marks_.find({client, server});
  const bool passed = found != marks_.end() && found->second.mark == Mark::kPassed &&
                      Clock::now() - found->second.at < kPassLife;
  if (!passed) mark({client, server}, Mark::kExpected);
  return true;
}

bool Remote::keep_waiting(const Endpoint& client, const Endpoint& server,
                          std::chrono::nanoseconds age) {
  const std::lock_guard guard{offers_mutex_};
  const auto found = marks_.find({client, server});
  if (found == marks_.end() || found->second.mark != Mark::kExpected) return false;
  if (age < bound(kPatience)) return true;
  services_.statistics.count(Path::kAcceptedInVain);
  Patience& patience = patience_[client.address];
  if (++patience.vain >= kVain) {
    patience.resume = Clock::now() + patience.pause;
    patience.pause = std::min(patience.pause * 2, kLongestPause);
  }
  return false;
}

std::optional<local::Offer> Remote::go_ahead(local::Mailbox& mailbox, const Endpoint& client,
                                             const Endpoint& server) {
  const std::lock_guard guard{offers_mutex_};
  if (auto offer = mailbox.take(client, server)) {
    marks_.erase({client, server});
    return offer;
  }
  mark({client, server}, Mark::kGoneAhead);
  return std::nullopt;
}

}  // namespace shunt::sandbox
