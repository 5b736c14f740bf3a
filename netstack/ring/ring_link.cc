#include "netstack/ring/ring_link.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "netstack/base/log.h"
#include "netstack/ring/remainder.h"

namespace shunt::ring {
namespace {

// What the two ends say to each other through OFFER and ANSWER: that both speak this protocol.
constexpr std::array<std::uint8_t, 8> kOffer{'s', 'h', 'r', 'o', 1, 0, 0, 0};
constexpr std::array<std::uint8_t, 8> kAnswer{'s', 'h', 'r', 'a', 1, 0, 0, 0};

fabric::Bytes to_bytes(std::span<const std::uint8_t> text) {
  const auto bytes = std::as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

bool says(fabric::View bytes, std::span<const std::uint8_t> text) {
  return bytes.size() == text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

/// Two programs and two pumps take part in a connection. With fewer CPUs, one that spins takes the
/// CPU from the very process it waits for.
bool too_few_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 4;
}

}  // namespace

std::unique_ptr<fabric::Link> make_link(EventLoop& loop, fabric::Kind kind,
                                        std::unique_ptr<Mover> mover, std::string peer_name,
                                        MoveFunction<void(Error)> failed, Options options) {
  auto link = std::make_unique<RingLink>(loop, kind, std::move(mover), std::move(peer_name),
                                         std::move(failed), options);
  (void)link->start();  // a failure is told through `failed`
  return link;
}

RingLink::RingLink(EventLoop& loop, fabric::Kind kind, std::unique_ptr<Mover> mover,
                   std::string peer_name, MoveFunction<void(Error)> failed, Options options)
    : loop_{loop},
      kind_{kind},
      mover_{std::move(mover)},
      peer_name_{std::move(peer_name)},
      failed_callback_{std::move(failed)},
      options_{options},
      lanes_{mover_->shape().lanes},
      pool_{*mover_, options.smallest_ring},
      outbox_(lanes_),
      scratch_(fabric::AppEnd::kMostSmall) {
  if (too_few_cpus()) options_.spin = {};
}

Status RingLink::start() {
  const auto watch = loop_.watch(mover_->event_fd(), EPOLLIN | EPOLLET, [this](std::uint32_t) {
    ++counters_.wakes;
    mover_->disarm();
    schedule();
  });
  if (!watch) {
    fail(watch.error());
    return watch.error();
  }
  event_watch_ = *watch;
  schedule();
  return Done{};
}

RingLink::~RingLink() {
  loop_.forget(event_watch_);
  loop_.forget(tick_timer_);
  loop_.forget(look_timer_);
  // What the peer said before it went counts.
  if (!failure_) (void)mover_->receive(*this);
  for (auto& [id, stream] : streams_)
    if (!stream->dying) part(*stream, stream->finish_received);
}

Stream* RingLink::find(fabric::StreamId id) {
  const auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second.get();
}

Result<Stream*> RingLink::add(fabric::StreamId id, fabric::MakeEnds& make, UniqueFd& application) {
  if (failure_) return *failure_;
  if (ids_.used(id)) return Error{EPROTO, "stream id used before"};
  if (streams_.size() >= options_.streams) return Error{ENOBUFS, "streams"};
  // Without a ring a stream would crawl; the kernel's path is better then.
  if (pool_.spent() || lack_memory_ > 0) {
    ++counters_.no_memory;
    return Error{ENOBUFS, "ring memory"};
  }
  auto ends = make();
  if (!ends) return ends.error();
  auto app = fabric::AppEnd::take_over(*ends);
  if (!app) return app.error();
  auto made = std::make_unique<Stream>();
  Stream* stream = made.get();
  stream->id = id;
  stream->app = std::move(*app);
  const auto watch =
      loop_.watch(stream->app.fd(), kAppEvents,
                  [this, stream](std::uint32_t events) { on_app_event(*stream, events); });
  if (!watch) return watch.error();
  stream->watch = *watch;
  ids_.use(id);
  streams_.emplace(id, std::move(made));
  application = std::move(ends->application);
  return stream;
}

void RingLink::open(fabric::StreamId id, fabric::MakeEnds ends, fabric::HalfDone done) {
  UniqueFd application;
  const auto stream = add(id, ends, application);
  if (!stream) return done(stream.error());
  (*stream)->offered = true;
  done(fabric::Half{std::move(application), to_bytes(kOffer)});
}

void RingLink::accept(fabric::StreamId id, fabric::View offer, fabric::MakeEnds ends,
                      fabric::HalfDone done) {
  if (!says(offer, kOffer)) return done(Error{EPROTO, "stream offer"});
  UniqueFd application;
  const auto stream = add(id, ends, application);
  if (!stream) return done(stream.error());
  done(fabric::Half{std::move(application), to_bytes(kAnswer)});
}

Status RingLink::complete(fabric::StreamId id, fabric::View answer) {
  if (failure_) return *failure_;
  Stream* stream = find(id);
  if (stream == nullptr || stream->dying) return Error{ENOENT, "stream"};
  if (!stream->offered) return Error{EPROTO, "stream answered before"};
  if (!says(answer, kAnswer)) {
    abandon(id);
    return Error{EPROTO, "stream answer"};
  }
  stream->offered = false;
  activate(*stream);
  return Done{};
}

void RingLink::abandon(fabric::StreamId id) {
  if (Stream* stream = find(id)) reset(*stream);
}

void RingLink::on_message(fabric::View message) {
  if (!failure_ && !mover_->on_message(message))
    log::debug("netstack", "{}: a {} message that makes no sense", peer_name_, name(kind_));
}

void RingLink::on_app_event(Stream& stream, std::uint32_t events) {
  stream.app.noticed(events);
  // What it wrote before it was closed with something unread still counts: taking that comes first
  // and ends in the error.
  if ((events & EPOLLERR) != 0) {
    stream.app_failed = true;
    const bool nothing_to_take = stream.app_ended || stream.offered || stream.out.credit() == 0;
    if (nothing_to_take && stream.app.error() != 0) return reset(stream);
  }
  if ((events & EPOLLOUT) != 0) {
    block(stream, false);
    to_deliver(stream);
  }
  stream.readable = true;
  activate(stream);
}

/// The application's side of a stream whose peer is gone: what has come is still given to it, and
/// then the end that the peer said, or a reset.
void RingLink::part(Stream& stream, bool cleanly) {
  loop_.forget(stream.watch);
  stream.watch = 0;
  std::array<iovec, 5> parts{};
  const std::size_t count = stream.in.parts(parts, *mover_);
  auto left = give_what_fits(stream.app, std::span{parts}.first(count));
  see_off(loop_, std::move(stream.app), std::move(left), cleanly);
}

/// The application's side is over at once; the peer is told, unless it has heard our last word and
/// said its own.
void RingLink::reset(Stream& stream) {
  if (stream.dying) return;
  stream.dying = true;
  loop_.forget(stream.watch);
  stream.watch = 0;
  stream.app.reset();
  stream.out.drop_all(*mover_);
  look_at_memory(stream);
  stream.reset_due = true;
  stream.want_due = stream.credit_due = stream.reclaim_due = stream.release_due = false;
  if (stream.grant_due) {  // never told, so nobody writes there
    stream.grant_due.reset();
  }
  to_tell(stream);
}

/// After each change of what `stream.out` was granted.
void RingLink::look_at_memory(Stream& stream) {
  const bool lacks = stream.out.lacks_memory();
  if (std::exchange(stream.lacks_memory, lacks) == lacks) return;
  lack_memory_ += lacks ? 1 : -1;
  if (lacks) ++counters_.lacked_memory;
}

void RingLink::end_if_over(Stream& stream) {
  const bool over = stream.dying ? !stream.reset_due && (stream.peer_final || !stream.in.granted())
                                 : stream.finish_given && stream.finish_sent;
  if (!over) return;
  if (std::find(over_.begin(), over_.end(), &stream) == over_.end()) over_.push_back(&stream);
}

void RingLink::bury() {
  for (Stream* stream : over_) {
    if (stream->in_active) std::erase(active_, stream);
    if (stream->in_deliver) std::erase(deliver_, stream);
    if (stream->in_dirty) std::erase(dirty_, stream);
    if (stream->in_tidy) std::erase(tidy_, stream);
    if (stream->in_wanting) std::erase(wanting_, stream);
    loop_.forget(stream->watch);
    if (!stream->dying) stream->app.close();
    stream->out.drop_all(*mover_);
    look_at_memory(*stream);
    stream->in.give_back_all(pool_);
    streams_.erase(fabric::StreamId{stream->id});
  }
  over_.clear();
}

void RingLink::fail(Error error) {
  if (failure_) return;
  failure_ = error;
  log::info("netstack", "{}: the {} link is lost: {}", peer_name_, name(kind_), describe(error));
  loop_.forget(event_watch_);
  loop_.forget(tick_timer_);
  loop_.forget(look_timer_);
  event_watch_ = tick_timer_ = look_timer_ = 0;
  // In a turn somebody may still hold a stream: its socket goes now, the rest with the link.
  for (auto& [id, stream] : streams_) {
    if (!stream->dying) part(*stream, stream->finish_received);
    stream->dying = true;
  }
  loop_.post([this, error, alive = std::weak_ptr<bool>{alive_}] {
    if (alive.expired()) return;
    for (auto* queue : {&active_, &deliver_, &dirty_, &tidy_, &wanting_}) queue->clear();
    over_.clear();
    streams_.clear();
    auto failed = std::move(failed_callback_);
    if (failed) failed(error);
  });
}

bool RingLink::owes() const {
  if (failure_) return false;
  const bool unsaid = std::any_of(streams_.begin(), streams_.end(), [](const auto& entry) {
    const Stream& stream = *entry.second;
    if (stream.dying) return stream.reset_due;
    return !stream.offered && !stream.finish_sent && (stream.app_ended || stream.app.gone());
  });
  return unsaid || !mover_->arrived();
}

fabric::LinkView RingLink::view() const {
  fabric::LinkView view{kind_, failure_ ? describe(*failure_) : mover_->state(), {}, {}};
  for (const auto& [id, stream] : streams_) {
    const char* state = stream->dying                                  ? "reset"
                        : stream->offered                              ? "offered"
                        : stream->app_ended || stream->finish_received ? "half-closed"
                                                                       : "open";
    view.streams.push_back({id, state, stream->out.sent(), stream->in.consumed(),
                            stream->out.credit(), stream->in.held(), stream->stalls});
  }
  const Counters& c = counters_;
  view.counters = {{"turns", c.turns},
                   {"sleeps", c.sleeps},
                   {"wake-ups", c.wakes},
                   {"spins that paid", c.spins_paid},
                   {"records received", c.records_in},
                   {"records sent", c.records_out},
                   {"bytes sent inside records", c.inline_bytes},
                   {"bytes sent through rings", c.ring_bytes},
                   {"ring memory held", pool_.held()},
                   {"ring memory committed", pool_.committed()},
                   {"ring memory in all", pool_.total()},
                   {"streams refused for want of memory", c.no_memory},
                   {"rings that waited for memory here", c.lacked_memory},
                   {"waits for room", c.no_room},
                   {"records of unknown streams", c.unknown},
                   {"streams reset for what the peer said", c.violations}};
  for (auto& counter : mover_->counters()) view.counters.push_back(std::move(counter));
  return view;
}

}  // namespace shunt::ring
