// A stream is two Sides that know each other once both exist. Everything a side does follows from
// readiness of its application's socket, or from the other side having taken bytes or given some;
// pump(from, to) carries one direction as far as it goes.
#include "netstack/fabric/memory.h"

#include <unordered_map>
#include <unordered_set>

#include "netstack/fabric/app_end.h"

namespace shunt::fabric {
namespace {

class MemoryLink;

struct Side {
  StreamId id = 0;
  AppEnd app;
  EventLoop::Token watch = 0;
  Side* other = nullptr;
  MemoryLink* link = nullptr;
  bool open = false;  ///< the opening side waits for complete()
  bool readable = false, writes_blocked = false, read_ended = false, write_ended = false;
  bool broken = false;  ///< to be reset
  Bytes held;           ///< taken from the application, not yet given to the other one
  std::uint64_t sent = 0, received = 0, stalls = 0;
};

class MemoryLink final : public Link {
 public:
  MemoryLink(EventLoop& loop, MoveFunction<void(Error)> failed, MemoryOptions options)
      : loop_{loop}, failed_{std::move(failed)}, options_{options} {}
  ~MemoryLink() override;
  void join(MemoryLink& peer) { peer_ = &peer; }

  void open(StreamId id, MakeEnds ends, HalfDone done) override;
  void accept(StreamId id, View offer, MakeEnds ends, HalfDone done) override;
  Status complete(StreamId id, View answer) override;
  void abandon(StreamId id) override;
  void on_message(View) override {}
  LinkView view() const override;

 private:
  Result<Half> add(StreamId id, MakeEnds& ends, std::string_view message);
  Side* find(StreamId id) const;
  void on_event(Side& side, std::uint32_t events);
  void run(Side& side);
  void run_later(StreamId id);
  void pump(Side& from, Side& to);
  void give(Side& from, Side& to);
  void block(Side& side, bool blocked);
  void remove(Side& side, bool reset);

  EventLoop& loop_;
  MoveFunction<void(Error)> failed_;
  MemoryOptions options_;
  MemoryLink* peer_ = nullptr;
  std::unordered_map<StreamId, std::unique_ptr<Side>> sides_;
  std::unordered_set<StreamId> used_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

constexpr std::string_view kOffer = "memory offer";
constexpr std::string_view kAnswer = "memory answer";

bool says(View bytes, std::string_view text) {
  return std::string_view{reinterpret_cast<const char*>(bytes.data()), bytes.size()} == text;
}

Bytes to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span{text});
  return {bytes.begin(), bytes.end()};
}

Side* MemoryLink::find(StreamId id) const {
  const auto it = sides_.find(id);
  return it == sides_.end() ? nullptr : it->second.get();
}

Result<Half> MemoryLink::add(StreamId id, MakeEnds& make, std::string_view message) {
  if (used_.contains(id)) return Error{EPROTO, "stream id used before"};
  if (sides_.size() >= options_.streams) return Error{ENOBUFS, "streams"};
  auto ends = make();
  if (!ends) return ends.error();
  auto app = AppEnd::take_over(*ends);
  if (!app) return app.error();
  auto side = std::make_unique<Side>();
  side->id = id;
  side->app = std::move(*app);
  side->link = this;
  const auto watch =
      loop_.watch(side->app.fd(), EPOLLIN | EPOLLRDHUP | EPOLLET, [this, id](std::uint32_t events) {
        if (Side* found = find(id)) on_event(*found, events);
      });
  if (!watch) return watch.error();
  side->watch = *watch;
  used_.insert(id);
  sides_.emplace(id, std::move(side));
  return Half{std::move(ends->application), to_bytes(message)};
}

void MemoryLink::open(StreamId id, MakeEnds ends, HalfDone done) { done(add(id, ends, kOffer)); }

void MemoryLink::accept(StreamId id, View offer, MakeEnds ends, HalfDone done) {
  Side* opener = peer_ == nullptr ? nullptr : peer_->find(id);
  if (!says(offer, kOffer) || opener == nullptr) return done(Error{EPROTO, "stream offer"});
  auto half = add(id, ends, kAnswer);
  if (!half) return done(half.error());
  Side* side = find(id);
  side->other = opener;
  opener->other = side;
  side->open = true;
  done(std::move(half));
}

Status MemoryLink::complete(StreamId id, View answer) {
  Side* side = find(id);
  if (side == nullptr) return Error{ENOENT, "stream"};
  if (side->open) return Error{EPROTO, "stream answered before"};
  if (!says(answer, kAnswer) || side->other == nullptr) {
    abandon(id);
    return Error{EPROTO, "stream answer"};
  }
  side->open = true;
  run_later(id);
  return Done{};
}

void MemoryLink::abandon(StreamId id) {
  if (Side* side = find(id)) remove(*side, true);
}

void MemoryLink::on_event(Side& side, std::uint32_t events) {
  if ((events & EPOLLERR) != 0 && side.app.error() != 0) side.broken = true;
  side.app.noticed(events);
  side.readable = true;
  if ((events & EPOLLOUT) != 0) block(side, false);
  run(side);
}

void MemoryLink::run_later(StreamId id) {
  loop_.post([this, id, alive = std::weak_ptr<bool>{alive_}] {
    if (alive.expired()) return;
    if (Side* found = find(id)) run(*found);
  });
}

void MemoryLink::block(Side& side, bool blocked) {
  if (side.writes_blocked == blocked) return;
  side.writes_blocked = blocked;
  const std::uint32_t out = blocked ? std::uint32_t{EPOLLOUT} : 0;
  (void)loop_.rearm(side.watch, EPOLLIN | EPOLLRDHUP | EPOLLET | out);
}

void MemoryLink::run(Side& side) {
  if (!side.open || side.other == nullptr || !side.other->open) return;
  Side& other = *side.other;
  pump(side, other);
  pump(other, side);
  const bool broken = side.broken || other.broken;
  if (broken || (side.write_ended && other.write_ended)) remove(side, broken);
}

void MemoryLink::give(Side& from, Side& to) {
  const iovec part{from.held.data(), from.held.size()};
  const auto n = to.app.give(std::span{&part, 1});
  if (!n) {
    to.broken = true;
    return;
  }
  to.received += *n;
  from.held.erase(from.held.begin(), from.held.begin() + static_cast<std::ptrdiff_t>(*n));
  if (!from.held.empty()) {
    ++from.stalls;
    block(to, true);
  }
}

void MemoryLink::pump(Side& from, Side& to) {
  if (!from.held.empty() && !to.writes_blocked) give(from, to);
  if (from.readable && from.held.empty() && !from.read_ended && !from.broken && !to.broken) {
    Bytes small(256);
    Bytes large(options_.buffer);
    const iovec part{large.data(), large.size()};
    const auto taken = from.app.take(small, std::span{&part, 1});
    if (!taken) {
      from.broken = true;
      return;
    }
    from.readable = !taken->drained;
    from.read_ended = taken->ended;
    from.held = taken->large > 0 ? std::move(large) : std::move(small);
    from.held.resize(taken->large + taken->small);
    from.sent += from.held.size();
    if (!from.held.empty() && !to.writes_blocked) give(from, to);
    if (from.readable) from.link->run_later(from.id);  // one buffer a turn: streams take turns
  }
  if (from.read_ended && from.held.empty() && !from.write_ended) {
    from.write_ended = true;
    to.app.finish();
  }
}

void MemoryLink::remove(Side& side, bool reset) {
  for (Side* each : {side.other, &side}) {
    if (each == nullptr) continue;
    MemoryLink& owner = *each->link;
    owner.loop_.forget(each->watch);
    reset ? each->app.reset() : each->app.close();
    if (each->other != nullptr) each->other->other = nullptr;
    owner.sides_.erase(StreamId{each->id});
  }
}

LinkView MemoryLink::view() const {
  LinkView view{Kind::kMemory, peer_ == nullptr ? "failed" : "up", {}, {}};
  for (const auto& [id, side] : sides_) {
    const bool half = side->read_ended || (side->other != nullptr && side->other->read_ended);
    view.streams.push_back({id,
                            !side->open ? "offered"
                            : half      ? "half-closed"
                                        : "open",
                            side->sent, side->received, options_.buffer - side->held.size(),
                            side->held.size(), side->stalls});
  }
  return view;
}

MemoryLink::~MemoryLink() {
  while (!sides_.empty()) remove(*sides_.begin()->second, true);
  if (peer_ == nullptr) return;
  peer_->peer_ = nullptr;
  while (!peer_->sides_.empty()) peer_->remove(*peer_->sides_.begin()->second, true);
  if (peer_->failed_) peer_->failed_({ECONNRESET, "memory link"});
}

}  // namespace

std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>> memory_pair(
    EventLoop& loop, MoveFunction<void(Error)> first_failed,
    MoveFunction<void(Error)> second_failed, MemoryOptions options) {
  auto first = std::make_unique<MemoryLink>(loop, std::move(first_failed), options);
  auto second = std::make_unique<MemoryLink>(loop, std::move(second_failed), options);
  first->join(*second);
  second->join(*first);
  return {std::move(first), std::move(second)};
}

}  // namespace shunt::fabric
