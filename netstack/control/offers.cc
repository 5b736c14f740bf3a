#include "netstack/control/offers.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

namespace shunt::control {

using Clock = EventLoop::Clock;

bool UsedIds::use(StreamId id) {
  const auto bit = [](StreamId of) { return (of / 2) % kBits; };
  if (id > highest_) {
    // Numbers between the old highest and the new one have not been used yet.
    if (id - highest_ >= kWindow) {
      used_.reset();
    } else {
      for (StreamId between = highest_ + 2; between < id; between += 2) used_.reset(bit(between));
    }
    highest_ = id;
    used_.set(bit(id));
    return true;
  }
  if (highest_ - id >= kWindow || used_.test(bit(id))) return false;
  used_.set(bit(id));
  return true;
}

Offers::Offers(EventLoop& loop, Owner& owner, Setup setup)
    : loop_{loop}, owner_{owner}, setup_{setup}, next_{setup.dialled ? 1U : 2U} {}

Offers::~Offers() { loop_.forget(timer_); }

StreamId Offers::next() {
  if (next_ > std::numeric_limits<StreamId>::max() - 2) return 0;
  return std::exchange(next_, next_ + 2);
}

void Offers::offer(const LinkName& link, Offer offer, Peers::Answered done) {
  if (mine_.size() >= setup_.peer_takes) return done(Refusal::kBusy);
  const StreamId id = offer.stream;
  const bool fresh = id != 0 && is_mine(id) && id < next_ && !mine_.contains(id);
  // A link that took very long to open this stream: the peer would not take the number any more.
  const bool stale = highest_sent_ > id && highest_sent_ - id >= UsedIds::kWindow;
  if (!fresh || stale || offer.message.size() > kMaxStreamBytes) return done(Refusal::kOther);
  highest_sent_ = std::max(highest_sent_, id);
  ++counts_.offered;
  mine_.emplace(id, Mine{link, std::move(done)});
  deadlines_.emplace_back(Clock::now() + setup_.answer, id);
  arm();
  owner_.send_to_peer(offer);
}

void Offers::arm() {
  if (timer_ != 0 || deadlines_done_ == deadlines_.size()) return;
  timer_ = loop_.after(deadlines_[deadlines_done_].first - Clock::now(), [this] {
    timer_ = 0;
    on_late();
  });
}

// Answered ones stay in the queue until their time comes, and are passed over then.
void Offers::on_late() {
  const auto now = Clock::now();
  std::vector<Peers::Answered> late;
  auto since = Clock::time_point::max();
  for (; deadlines_done_ < deadlines_.size(); ++deadlines_done_) {
    const auto [due, id] = deadlines_[deadlines_done_];
    if (due > now) break;
    const auto found = mine_.find(id);
    if (found == mine_.end() || !found->second.done) continue;
    late.push_back(std::move(found->second.done));
    mine_.erase(found);
    since = std::min(since, due - setup_.answer);
    ++counts_.unanswered;
    owner_.send_to_peer(Withdraw{id});
  }
  if (deadlines_done_ * 2 >= deadlines_.size()) {
    deadlines_.erase(deadlines_.begin(),
                     deadlines_.begin() + static_cast<std::ptrdiff_t>(deadlines_done_));
    deadlines_done_ = 0;
  }
  arm();
  if (late.empty()) return;
  owner_.on_no_answer(since);
  for (auto& done : late) done(Refusal::kNoAnswer);
}

void Offers::confirm(StreamId id) {
  const auto found = mine_.find(id);
  if (found == mine_.end() || found->second.done) return;  // not accepted
  mine_.erase(found);
  // The reset of the TCP connection says the same, sooner: this is for when it gets lost.
  owner_.send_with_next(Confirm{id});
}

void Offers::withdraw(StreamId id) {
  if (mine_.erase(id) != 0) owner_.send_to_peer(Withdraw{id});
}

Offers::Verdict Offers::on(Accept message) {
  const StreamId id = message.stream;
  if (!is_mine(id) || id > highest_sent_) return Verdict::kProtocol;
  const auto found = mine_.find(id);
  if (found == mine_.end()) return Verdict::kOk;  // crossed a WITHDRAW
  if (!found->second.done) return Verdict::kProtocol;
  ++counts_.accepted;
  auto done = std::exchange(found->second.done, {});
  done(std::move(message));
  return Verdict::kOk;
}

Offers::Verdict Offers::on(const Refuse& message) {
  const StreamId id = message.stream;
  if (!is_mine(id) || id > highest_sent_) return Verdict::kProtocol;
  const auto found = mine_.find(id);
  if (found == mine_.end()) return Verdict::kOk;
  if (!found->second.done) return Verdict::kProtocol;  // accepted before
  ++counts_.refused;
  auto done = std::move(found->second.done);
  mine_.erase(found);
  done(message.why);
  return Verdict::kOk;
}

Offers::Verdict Offers::on_offer(const LinkName& link, StreamId id) {
  if (is_mine(id) || !theirs_used_.use(id)) return Verdict::kProtocol;
  if (theirs_.size() >= setup_.we_take) return Verdict::kFlood;
  ++counts_.asked;
  theirs_.emplace(id, Theirs{link, {}});
  return Verdict::kOk;
}

bool Offers::accept(const LinkName& link, StreamId id, int server_family, Bytes message) {
  const auto found = theirs_.find(id);
  if (found == theirs_.end() || found->second.link != link || found->second.accepted) return false;
  if (message.size() > kMaxStreamBytes) {
    refuse(link, id, Refusal::kOther);
    return false;
  }
  found->second.accepted = Clock::now();
  ++counts_.granted;
  owner_.send_to_peer(Accept{id, server_family, std::move(message)});
  return true;
}

std::optional<Clock::time_point> Offers::undecided_since() const {
  std::optional<Clock::time_point> since;
  for (const auto& [id, offer] : theirs_)
    if (offer.accepted && (!since || *offer.accepted < *since)) since = offer.accepted;
  return since;
}

void Offers::refuse(const LinkName& link, StreamId id, Refusal why) {
  const auto found = theirs_.find(id);
  if (found == theirs_.end() || found->second.link != link || found->second.accepted) return;
  theirs_.erase(found);
  owner_.send_to_peer(Refuse{id, why});
}

Offers::Verdict Offers::on(const Confirm& message, LinkName& was) {
  if (is_mine(message.stream) || message.stream > theirs_used_.highest()) return Verdict::kProtocol;
  const auto found = theirs_.find(message.stream);
  if (found == theirs_.end()) return Verdict::kOk;
  if (!found->second.accepted) return Verdict::kProtocol;
  was = found->second.link;
  theirs_.erase(found);
  return Verdict::kOk;
}

Offers::Verdict Offers::on(const Withdraw& message, LinkName& was) {
  if (is_mine(message.stream) || message.stream > theirs_used_.highest()) return Verdict::kProtocol;
  const auto found = theirs_.find(message.stream);
  if (found == theirs_.end()) return Verdict::kOk;
  was = found->second.link;
  theirs_.erase(found);
  return Verdict::kOk;
}

template <typename Which>
void Offers::end_if(Which which) {
  std::erase_if(theirs_, [&](const auto& entry) { return which(entry.second.link); });
  std::vector<Peers::Answered> lost;
  for (auto it = mine_.begin(); it != mine_.end();) {
    if (!which(it->second.link)) {
      ++it;
      continue;
    }
    if (it->second.done) lost.push_back(std::move(it->second.done));
    it = mine_.erase(it);
  }
  for (auto& done : lost) done(Refusal::kLost);
}

void Offers::end(const LinkName& link) {
  end_if([&](const LinkName& of) { return of == link; });
}
void Offers::end_all() {
  end_if([](const LinkName&) { return true; });
}

}  // namespace shunt::control
