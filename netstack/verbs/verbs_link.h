// A link while its queue pairs are being connected (bootstrap.h), and afterwards the ring link over
// them. Streams asked for before it is up wait for that.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "netstack/ring/link.h"
#include "netstack/verbs/mover.h"

namespace shunt::verbs {

/// What all links of a fabric share; outlives them.
struct LinkContext {
  EventLoop& loop;
  Device& device;
  LinkLimits limits;
  Tuning tuning;
  ring::Options ring;
  Budget own;      ///< memory that peers write
  Budget mirrors;  ///< memory that we send from
  std::vector<class VerbsLink*> links;

  /// How long a link may be without what it needs: while it is set up, and when the port is down.
  std::chrono::nanoseconds patience() const {
    return std::max<std::chrono::nanoseconds>(std::chrono::seconds{2}, tuning.patience());
  }
};

class VerbsLink final : public fabric::Link {
 public:
  /// `gids`: chosen if we dialled, else the peer chooses. An error: nothing has begun.
  static Result<std::unique_ptr<VerbsLink>> start(LinkContext& context, fabric::LinkSetup setup,
                                                  const Hello& peer, std::optional<GidPair> gids);
  /// Tells the peer, over the control connection, that the link is over.
  ~VerbsLink() override;

  void open(fabric::StreamId id, fabric::MakeEnds ends, fabric::HalfDone done) override;
  void accept(fabric::StreamId id, fabric::View offer, fabric::MakeEnds ends,
              fabric::HalfDone done) override;
  Status complete(fabric::StreamId id, fabric::View answer) override;
  void abandon(fabric::StreamId id) override;
  void on_message(fabric::View message) override;
  fabric::LinkView view() const override;
  bool owes() const override { return inner_ != nullptr && inner_->owes(); }

  bool owns(const ibv_qp* pair) const { return mover_ != nullptr && mover_->owns(pair); }
  /// Ends the link; `failed` of the setup is called, later if streams have to be reset first.
  void fail(Error error);

 private:
  struct Waiting {
    fabric::StreamId id;
    bool opening;
    fabric::Bytes offer;
    fabric::MakeEnds ends;
    fabric::HalfDone done;
  };

  VerbsLink(LinkContext& context, fabric::LinkSetup setup, const Hello& peer);
  void on(const Propose& message);
  void on(const Accept& message);
  void on(const Ready& message);
  void on(const Failed& message);
  Status make_mover();
  Status join(const Terms& terms);
  void up();
  void over(Error error);  ///< at most once tells the owner and the peer

  LinkContext& context_;
  fabric::LinkSetup setup_;
  Hello peer_;
  std::optional<GidPair> gids_;
  std::unique_ptr<VerbsMover> made_;  ///< until the ring link takes it
  VerbsMover* mover_ = nullptr;
  std::unique_ptr<fabric::Link> inner_;
  std::vector<Waiting> waiting_;
  EventLoop::Token timer_ = 0;
  bool joined_ = false;  ///< the queue pairs are connected
  bool over_ = false;
};

}  // namespace shunt::verbs
