#include "netstack/verbs/verbs_link.h"

#include <algorithm>

#include "netstack/base/log.h"

namespace shunt::verbs {

VerbsLink::VerbsLink(LinkContext& context, fabric::LinkSetup setup, const Hello& peer)
    : context_{context}, setup_{std::move(setup)}, peer_{peer} {
  context_.links.push_back(this);
}

VerbsLink::~VerbsLink() {
  context_.loop.forget(timer_);
  std::erase(context_.links, this);
  if (!over_) setup_.send(encode(Failed{ECONNRESET}));
  for (Waiting& each : waiting_) each.done(Error{ECANCELED, "verbs link"});
}

Result<std::unique_ptr<VerbsLink>> VerbsLink::start(LinkContext& context, fabric::LinkSetup setup,
                                                    const Hello& peer,
                                                    std::optional<GidPair> gids) {
  const bool dialled = setup.dialled;
  std::unique_ptr<VerbsLink> link{new VerbsLink{context, std::move(setup), peer}};
  VerbsLink* const self = link.get();
  link->gids_ = gids;
  if (dialled) {
    const Status made = link->make_mover();
    auto terms = made ? link->mover_->terms(*gids) : Result<Terms>{made.error()};
    if (!terms) {
      link->over_ = true;  // nobody has heard of it
      return terms.error();
    }
    link->setup_.send(encode(Propose{std::move(*terms)}));
  }
  link->timer_ = context.loop.after(context.patience(), [self] {
    self->fail({ETIMEDOUT, "verbs link set-up"});
  });
  return link;
}

Status VerbsLink::make_mover() {
  LinkLimits limits = context_.limits;
  limits.lanes = std::min<unsigned>(limits.lanes, peer_.lanes);
  auto mover = VerbsMover::make(context_.device, limits, context_.own, context_.mirrors);
  if (!mover) return mover.error();
  made_ = std::move(*mover);
  mover_ = made_.get();
  return Done{};
}

Status VerbsLink::join(const Terms& terms) {
  const Status joined = mover_->connect(*gids_, terms, peer_.region, context_.tuning);
  joined_ = static_cast<bool>(joined);
  return joined;
}

void VerbsLink::up() {
  context_.loop.forget(std::exchange(timer_, 0));
  log::info("verbs", "link to {} is up: {} over {}, {} queue pairs", setup_.peer_name,
            to_text(gids_->ours.address), context_.device.name(), mover_->shape().lanes);
  inner_ = ring::make_link(
      context_.loop, fabric::Kind::kVerbs, std::move(made_), setup_.peer_name,
      [this](Error error) { over(error); }, context_.ring);
  for (Waiting& each : std::exchange(waiting_, {})) {
    if (each.opening) {
      inner_->open(each.id, std::move(each.ends), std::move(each.done));
    } else {
      inner_->accept(each.id, each.offer, std::move(each.ends), std::move(each.done));
    }
  }
}

void VerbsLink::fail(Error error) {
  if (over_) return;
  if (inner_ != nullptr && mover_ != nullptr)
    return mover_->fail(error);  // the ring link sees it and resets its streams
  over(error);
}

void VerbsLink::over(Error error) {
  if (std::exchange(over_, true)) return;
  context_.loop.forget(std::exchange(timer_, 0));
  log::info("verbs", "link to {} is over: {}", setup_.peer_name, describe(error));
  setup_.send(encode(Failed{error.number}));
  for (Waiting& each : std::exchange(waiting_, {})) each.done(error);
  setup_.failed(error);
}

// -- streams

void VerbsLink::open(fabric::StreamId id, fabric::MakeEnds ends, fabric::HalfDone done) {
  if (inner_ != nullptr) return inner_->open(id, std::move(ends), std::move(done));
  if (over_) return done(Error{ENOTCONN, "verbs link"});
  waiting_.push_back({id, true, {}, std::move(ends), std::move(done)});
}

void VerbsLink::accept(fabric::StreamId id, fabric::View offer, fabric::MakeEnds ends,
                       fabric::HalfDone done) {
  if (inner_ != nullptr) return inner_->accept(id, offer, std::move(ends), std::move(done));
  if (over_) return done(Error{ENOTCONN, "verbs link"});
  waiting_.push_back({id, false, {offer.begin(), offer.end()}, std::move(ends), std::move(done)});
}

Status VerbsLink::complete(fabric::StreamId id, fabric::View answer) {
  if (inner_ != nullptr) return inner_->complete(id, answer);
  return Error{ENOTCONN, "verbs link"};
}

void VerbsLink::abandon(fabric::StreamId id) {
  if (inner_ != nullptr) return inner_->abandon(id);
  const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                  [&](const Waiting& each) { return each.id == id; });
  if (found == waiting_.end()) return;
  fabric::HalfDone done = std::move(found->done);
  waiting_.erase(found);
  done(Error{ECANCELED, "verbs link"});
}

fabric::LinkView VerbsLink::view() const {
  if (inner_ != nullptr) return inner_->view();
  fabric::LinkView view;
  view.kind = fabric::Kind::kVerbs;
  view.state = over_ ? "over" : "connecting";
  return view;
}

// -- messages

void VerbsLink::on_message(fabric::View message) {
  const auto decoded = decode_message(message);
  if (!decoded) {
    log::debug("verbs", "a message from {} makes no sense", setup_.peer_name);
    return;
  }
  if (over_) return;
  std::visit([this](const auto& known) { on(known); }, *decoded);
}

void VerbsLink::on(const Propose& message) {
  if (setup_.dialled || joined_ || mover_ != nullptr) return;  // out of turn
  for (const Gid& gid : context_.device.gids())
    if (gid.address == message.terms.peer_gid) gids_ = GidPair{gid, message.terms.gid};
  if (!gids_) return fail({EADDRNOTAVAIL, "verbs link: address of ours"});
  Status ready = make_mover();
  if (ready) ready = join(message.terms);
  auto terms = ready ? mover_->terms(*gids_) : Result<Terms>{ready.error()};
  if (!terms) return fail(terms.error());
  setup_.send(encode(Accept{std::move(*terms)}));
}

void VerbsLink::on(const Accept& message) {
  if (!setup_.dialled || joined_) return;
  if (const Status joined = join(message.terms); !joined) return fail(joined.error());
  setup_.send(encode(Ready{}));
  up();
}

void VerbsLink::on(const Ready&) {
  if (!setup_.dialled && joined_ && inner_ == nullptr) up();
}

void VerbsLink::on(const Failed& message) {
  if (inner_ == nullptr) return over({message.error, "verbs link: refused by the peer"});
  // Whatever it was over there, here the peer has gone away.
  fail({ECONNRESET, "verbs link: ended by the peer"});
}

}  // namespace shunt::verbs
