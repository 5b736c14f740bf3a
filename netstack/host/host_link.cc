#include "netstack/host/host_link.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "netstack/base/log.h"

namespace shunt::host {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kFewest = 2;
constexpr std::size_t kMost = 64;
constexpr std::size_t kMostComing = 128;   // with those for streams that wait already
constexpr std::size_t kBatch = 16;         // dialled in one turn of the loop
constexpr std::size_t kMostArrived = 256;  // of the peer's that wait to be used
constexpr auto kSoon = 200ms;              // between two batches: more at once would do
constexpr auto kPatience = 20ms;           // of a stream that finds none ready
constexpr auto kFirst = 20ms;              // in which the first ones should be there
constexpr auto kDialTime = 2s;             // from the first packet to the peer's word
constexpr auto kOld = 60s;                 // firewalls forget connections that are silent
constexpr auto kLookDialling = 250ms;
constexpr auto kLookIdle = 10s;
constexpr int kFailures = 3;

/// Nothing came, nothing ended.
bool is_fresh(int socket) {
  std::byte byte{};
  return ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

}  // namespace

HostLink::HostLink(HostFabric& fabric, fabric::LinkSetup setup, const Hello& hello)
    : fabric_{fabric}, setup_{std::move(setup)}, pin_{hello.listener}, wanted_{kFewest} {}

HostLink::~HostLink() {
  *alive_ = false;
  fabric_.forget(*this);
  fabric_.loop_.forget(timer_);
  fabric_.loop_.forget(waiting_timer_);
  for (const auto& [number, dialled] : dialled_) fabric_.loop_.forget(dialled.watch);
  for (Waiting& waiting : std::exchange(waiting_, {})) waiting.done(Error{ECONNRESET, "host link"});
}

void HostLink::start() {
  timer_ = fabric_.loop_.after(kLookDialling, [this] { look_after(); });
  refill();
}

// In batches: one message, one look at the guard, one change of the namespace. Under a steady load
// the batches grow.
void HostLink::refill() {
  const std::size_t coming = ready_.size() + dialled_.size();
  const std::size_t needed = std::min(wanted_ + waiting_.size(), kMostComing);
  if (coming * 2 > needed) return;
  if (!fabric_.may_dial()) {
    ++unguarded_;
    return;
  }
  const auto now = Clock::now();
  if (proven_ && now - dialled_at_ < kSoon) wanted_ = std::min(kMost, wanted_ * 2);
  dialled_at_ = now;
  dial(std::min(needed - coming, kBatch));
}

// After what has been said in this turn of the loop, which somebody waits for, has left.
void HostLink::refill_soon() {
  if (std::exchange(refilling_, true)) return;
  fabric_.loop_.post([this, alive = alive_] {
    if (!*alive) return;
    refilling_ = false;
    refill();
  });
}

void HostLink::dial(std::size_t count) {
  Dial message;
  std::array<Token, kBatch> tokens{};
  std::size_t got = 0;
  while (got < count * sizeof(Token)) {
    const ssize_t part =
        ::getrandom(reinterpret_cast<char*>(tokens.data()) + got, count * sizeof(Token) - got, 0);
    if (part > 0) got += static_cast<std::size_t>(part);
  }
  auto sockets = fabric_.start_dials(pin_, count);
  for (UniqueFd& socket : sockets.started) {
    const Token& token = tokens[message.tickets.size()];
    const Number number = ++last_;
    message.tickets.push_back({number, token});
    dialled_[number] = {std::move(socket), token, 0, false, Clock::now()};
  }
  // Later: the caller may be the link's owner, who cannot part with it now.
  if (message.tickets.empty()) {
    fabric_.loop_.post([this, error = sockets.error, alive = alive_] {
      if (*alive) failed_to_dial(0, error);  // no connection has this number
    });
    return;
  }
  const Number first = message.tickets.front().number;
  setup_.send(encode(Message{std::move(message)}));
  fabric_.loop_.post([this, first, last = last_, alive = alive_] {
    for (Number number = first; *alive && number <= last; ++number) introduce(number);
  });
}

// The token goes out; from now on the peer's READY counts. On a short way the connection is there
// by the first look; else the loop says when.
void HostLink::introduce(Number number) {
  const auto found = dialled_.find(number);
  if (found == dialled_.end() || found->second.introduced) return;
  Dialled& dialled = found->second;
  const auto preface = encode_preface(dialled.token);
  const ssize_t sent =
      ::send(dialled.socket.get(), preface.data(), preface.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(preface.size())) {
    fabric_.loop_.forget(std::exchange(dialled.watch, 0));
    dialled.introduced = true;
    return;
  }
  const int error = sent < 0 ? errno : EPIPE;
  if (error != EAGAIN) return failed_to_dial(number, {error, "host dial"});
  if (dialled.watch != 0) return;
  const auto watch = fabric_.loop_.watch(dialled.socket.get(), EPOLLOUT,
                                         [this, number](std::uint32_t) { introduce(number); });
  if (!watch) return failed_to_dial(number, watch.error());
  dialled.watch = *watch;
}

// May end in the destruction of this link, so it is the last thing its callers do.
void HostLink::failed_to_dial(Number number, Error error) {
  auto since = Clock::now();
  if (const auto found = dialled_.find(number); found != dialled_.end()) {
    fabric_.loop_.forget(found->second.watch);
    since = found->second.since;
    dialled_.erase(found);
  }
  if (since > succeeded_) ++failures_;  // else the peer has been reached since: no news
  ++lost_;
  const bool hopeless = proven_ ? failures_ >= kFailures : dialled_.empty();
  if (!hopeless || !ready_.empty() || !setup_.failed) return;
  log::debug("host", "{} at {}: {}", setup_.peer_name, to_text(pin_.peer()), describe(error));
  std::exchange(setup_.failed, {})(error);
}

void HostLink::ready(Number number) {
  const auto found = dialled_.find(number);
  if (found == dialled_.end() || !found->second.introduced) return;  // the peer makes it up
  ready_.emplace_back(number, Kept{std::move(found->second.socket), Clock::now()});
  dialled_.erase(found);
  failures_ = 0;
  succeeded_ = Clock::now();
  proven_ = true;
}

std::optional<std::pair<Number, UniqueFd>> HostLink::take_ready() {
  while (!ready_.empty()) {
    auto [number, kept] = std::move(ready_.back());  // the youngest; old ones go by age
    ready_.pop_back();
    if (is_fresh(kept.socket.get())) return std::pair{number, std::move(kept.socket)};
    ++lost_;
  }
  return std::nullopt;
}

void HostLink::open(fabric::StreamId id, fabric::MakeEnds, fabric::HalfDone done) {
  if (waiting_.empty()) {
    if (auto taken = take_ready()) {
      ++used_;
      done(fabric::Half{std::move(taken->second), encode_offer(taken->first)});
      refill_soon();
      return;
    }
  }
  ++shortages_;
  wanted_ = std::min(kMost, wanted_ * 2);
  constexpr std::size_t kMostWaiting = 1024;
  // Nobody is to wait for a node that may be out of reach.
  const bool doubtful =
      failures_ > 0 || (!proven_ && Clock::now() - since_ > kFirst) || !setup_.failed;
  if (doubtful || waiting_.size() >= kMostWaiting) {
    done(Error{ENOBUFS, "host pool"});
    refill();
    return;
  }
  waiting_.push_back({id, std::move(done), Clock::now() + kPatience});
  if (waiting_timer_ == 0)
    waiting_timer_ = fabric_.loop_.after(kPatience, [this] {
      waiting_timer_ = 0;
      serve_waiting();
    });
  refill();
}

void HostLink::serve_waiting() {
  const auto now = Clock::now();
  while (!waiting_.empty()) {
    auto taken = take_ready();
    if (!taken && waiting_.front().until > now) break;
    Waiting first = std::move(waiting_.front());
    waiting_.pop_front();
    if (taken) {
      ++used_;
      first.done(fabric::Half{std::move(taken->second), encode_offer(taken->first)});
    } else {
      first.done(Error{ENOBUFS, "host pool"});
    }
  }
  if (!waiting_.empty() && waiting_timer_ == 0)
    waiting_timer_ = fabric_.loop_.after(waiting_.front().until - now, [this] {
      waiting_timer_ = 0;
      serve_waiting();
    });
  refill();
}

void HostLink::accept(fabric::StreamId, fabric::View offer, fabric::MakeEnds,
                      fabric::HalfDone done) {
  const auto number = decode_offer(offer);
  const auto found = number ? arrived_.find(*number) : arrived_.end();
  if (found == arrived_.end()) {
    done(Error{EPROTO, "host offer"});
    return;
  }
  UniqueFd socket = std::move(found->second.socket);
  arrived_.erase(found);
  if (!is_fresh(socket.get())) {
    ++lost_;
    done(Error{ESTALE, "host offer"});
    return;
  }
  ++granted_;
  done(fabric::Half{std::move(socket), {}});
}

Status HostLink::complete(fabric::StreamId, fabric::View) { return Done{}; }

// Whoever has the socket closes it; the other side sees that.
void HostLink::abandon(fabric::StreamId id) {
  std::erase_if(waiting_, [id](const Waiting& waiting) { return waiting.id == id; });
}

void HostLink::on_message(fabric::View bytes) {
  const auto message = decode_message(bytes);
  if (!message) {
    if (setup_.failed) std::exchange(setup_.failed, {})(Error{EPROTO, "host message"});
    return;
  }
  if (const auto* dial = std::get_if<Dial>(&*message)) {
    for (const Ticket& ticket : dial->tickets)
      if (!fabric_.expect(*this, ticket, pin_.peer().address)) break;
    return;
  }
  for (const Number number : std::get<Ready>(*message).numbers) ready(number);
  serve_waiting();
}

void HostLink::arrived(Number number, UniqueFd socket) {
  // What was offered and refused is still here, and dead.
  if (arrived_.size() >= kMostArrived) drop_old_arrivals();
  if (arrived_.size() >= kMostArrived) return;  // it hangs up: the peer dials too many
  arrived_[number] = {std::move(socket), Clock::now()};
  untold_.push_back(number);
  if (untold_.size() > 1) return;
  // At the end of this turn of the loop: several often arrive together.
  fabric_.loop_.post([this, alive = alive_] {
    if (*alive) tell_arrivals();
  });
}

void HostLink::tell_arrivals() {
  while (!untold_.empty()) {
    const std::size_t count = std::min(untold_.size(), kMostAtOnce);
    Ready message;
    message.numbers.assign(untold_.end() - static_cast<std::ptrdiff_t>(count), untold_.end());
    untold_.resize(untold_.size() - count);
    setup_.send(encode(Message{std::move(message)}));
  }
}

void HostLink::drop_old_arrivals() {
  const auto now = Clock::now();
  std::erase_if(arrived_, [now](const auto& entry) {
    return now - entry.second.since > 2 * kOld || !is_fresh(entry.second.socket.get());
  });
}

void HostLink::look_after() {
  const auto now = Clock::now();
  timer_ = 0;
  const bool quiet = used_ - used_before_ < wanted_;
  used_before_ = used_;
  if (quiet && dialled_.empty()) wanted_ = std::max(kFewest, wanted_ / 2);
  const auto gone = [&](const Kept& kept) {
    return now - kept.since > kOld || !is_fresh(kept.socket.get());
  };
  std::erase_if(ready_, [&](const auto& entry) { return gone(entry.second); });
  drop_old_arrivals();
  std::vector<Number> late;
  for (const auto& [number, dialled] : dialled_)
    if (now - dialled.since > kDialTime) late.push_back(number);
  refill();
  timer_ = fabric_.loop_.after(dialled_.empty() ? std::chrono::nanoseconds{kLookIdle}
                                                : std::chrono::nanoseconds{kLookDialling},
                               [this] { look_after(); });
  const auto alive = alive_;
  for (const Number number : late) {
    if (!*alive) return;
    failed_to_dial(number, {ETIMEDOUT, "host dial"});
  }
}

fabric::LinkView HostLink::view() const {
  fabric::LinkView view;
  view.kind = fabric::Kind::kHost;
  view.state = failures_ == 0 ? "up" : fmt::format("{} dials failed", failures_);
  view.counters = {{"ready", ready_.size()},
                   {"dialling", dialled_.size()},
                   {"arrived", arrived_.size()},
                   {"wanted", wanted_},
                   {"used", used_},
                   {"granted", granted_},
                   {"shortages", shortages_},
                   {"lost", lost_},
                   {"refused by the guard", unguarded_},
                   {"strangers at the listener", fabric_.strangers()}};
  return view;
}

}  // namespace shunt::host
