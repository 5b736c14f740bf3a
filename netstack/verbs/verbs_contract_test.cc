// The rules of every fabric, over the fake device or (SHUNT_VERBS_REAL=1, scripts/rdma-guest) a
// real one.
#include "netstack/fabric/contract.h"
#include "netstack/verbs/fabric_pair.h"
#include "netstack/verbs/joined.h"

namespace {

using namespace shunt;

struct Keep {
  std::unique_ptr<verbs::Calls> calls = verbs::test_calls();
  std::unique_ptr<verbs::FabricPair> pair;
  ~Keep() {
    pair.reset();
    CHECK(calls->live == 0);  // nothing of the device is left
  }
};

/// A link of a party in other hands, which may destroy it at any time.
class Handed final : public fabric::Link {
 public:
  explicit Handed(verbs::Party& party) : party_{party}, inner_{std::move(party.link)} {}
  ~Handed() override {
    inner_.reset();
    party_.receives = nullptr;
  }
  void open(fabric::StreamId id, fabric::MakeEnds ends, fabric::HalfDone done) override {
    inner_->open(id, std::move(ends), std::move(done));
  }
  void accept(fabric::StreamId id, fabric::View offer, fabric::MakeEnds ends,
              fabric::HalfDone done) override {
    inner_->accept(id, offer, std::move(ends), std::move(done));
  }
  Status complete(fabric::StreamId id, fabric::View answer) override {
    return inner_->complete(id, answer);
  }
  void abandon(fabric::StreamId id) override { inner_->abandon(id); }
  void on_message(fabric::View message) override { inner_->on_message(message); }
  bool owes() const override { return inner_->owes(); }
  fabric::LinkView view() const override { return inner_->view(); }

 private:
  verbs::Party& party_;
  std::unique_ptr<fabric::Link> inner_;
};

fabric::contract::Pair make_verbs(EventLoop& loop, MoveFunction<void(Error)> dialled_failed,
                                  MoveFunction<void(Error)> listened_failed) {
  auto keep = std::make_shared<Keep>();
  verbs::Options options;
  options.memory = 128U << 20U;  // half of it for what the peer writes: the contract's 64 MiB
  keep->pair = std::make_unique<verbs::FabricPair>(loop, *keep->calls, options);
  keep->pair->dialled.failed = std::move(dialled_failed);
  keep->pair->listened.failed = std::move(listened_failed);
  REQUIRE(keep->pair->link());
  return {keep, std::make_unique<Handed>(keep->pair->dialled),
          std::make_unique<Handed>(keep->pair->listened)};
}

}  // namespace

SHUNT_FABRIC_CONTRACT("verbs", make_verbs)
SHUNT_FABRIC_CONTRACT_LAST_WORDS("verbs", make_verbs)
