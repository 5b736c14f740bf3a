#include "netstack/verbs/fabric.h"

#include <algorithm>

#include "netstack/base/log.h"
#include "netstack/base/netns.h"
#include "netstack/verbs/verbs_link.h"

namespace shunt::verbs {
namespace {

/// In the node's network namespace, if one was named.
class InNode {
 public:
  explicit InNode(int netns) {
    if (netns >= 0) inside_.emplace(netns);
  }
  Status entered() const { return inside_ ? inside_->entered() : Status{Done{}}; }

 private:
  std::optional<InNetns> inside_;
};

class VerbsFabric final : public fabric::Fabric {
 public:
  VerbsFabric(EventLoop& loop, std::unique_ptr<Calls> calls, std::unique_ptr<Device> device,
              const Options& options)
      : options_{options},
        calls_{std::move(calls)},
        device_{std::move(device)},
        context_{loop, *device_, limits(options), options.tuning, options.ring, {}, {}, {}} {
    context_.own.left = options.memory / 2;
    context_.mirrors.left = options.memory / 2;
  }
  ~VerbsFabric() override { context_.loop.forget(grace_); }

  Status watch() {
    return device_->watch(
        context_.loop, [this](ibv_event_type event, const ibv_qp* pair) { on_event(event, pair); });
  }

  fabric::Kind kind() const override { return fabric::Kind::kVerbs; }
  fabric::Bytes advertise() const override;
  Result<std::monostate, std::string> fits(fabric::View hello) const override;
  void link(fabric::LinkSetup setup, fabric::LinkDone done) override;

 private:
  static LinkLimits limits(const Options& options) {
    LinkLimits limits;
    // Regions are addresses only; what is registered in them is bounded by the budgets.
    const std::size_t half = std::min<std::size_t>(options.memory / 2, 1u << 30);
    limits.region = static_cast<std::uint32_t>(half / kSlab * kSlab);
    limits.lanes = std::clamp<unsigned>(options.queue_pairs, 1, kMaxLanes);
    return limits;
  }
  std::vector<Gid> gids() const;
  std::optional<GidPair> choose_gids(const Hello& peer) const;
  void on_event(ibv_event_type event, const ibv_qp* pair);
  void fail_links(Error error);

  Options options_;
  std::unique_ptr<Calls> calls_;  ///< null if they are somebody else's
  std::unique_ptr<Device> device_;
  LinkContext context_;
  EventLoop::Token grace_ = 0;
  bool dead_ = false;
};

std::vector<Gid> VerbsFabric::gids() const {
  std::vector<Gid> all = device_->gids();
  if (options_.gid_index >= 0)
    std::erase_if(all, [&](const Gid& gid) { return gid.index != options_.gid_index; });
  if (all.size() > kMaxGids) all.resize(kMaxGids);
  return all;
}

fabric::Bytes VerbsFabric::advertise() const {
  Hello hello;
  hello.ethernet = device_->ethernet();
  hello.lanes = static_cast<std::uint8_t>(context_.limits.lanes);
  hello.region = context_.limits.region;
  hello.slab = kSlab;
  for (const Gid& gid : gids()) hello.gids.push_back(gid.address);
  if (hello.gids.empty() || dead_) return {};
  return encode(hello);
}

std::optional<GidPair> VerbsFabric::choose_gids(const Hello& peer) const {
  const auto route = [this](const IpAddress& to) -> std::optional<IpAddress> {
    if (!device_->ethernet()) return {};
    const InNode inside{options_.node_netns};
    if (!inside.entered()) return {};
    return route_source(to);
  };
  return choose(gids(), peer.gids, options_.gid_index, route);
}

Result<std::monostate, std::string> VerbsFabric::fits(fabric::View hello) const {
  const auto peer = decode_hello(hello);
  if (!peer) return std::string{"the peer's verbs are of another version"};
  if (peer->ethernet != device_->ethernet())
    return std::string{"one node has InfiniBand, the other RoCE"};
  if (peer->slab != kSlab) return std::string{"the peer registers memory in other pieces"};
  if (dead_) return "device " + device_->name() + " has failed";
  const auto port = device_->port_state();
  if (!port || port->state != IBV_PORT_ACTIVE) return "port of " + device_->name() + " is down";
  if (!choose_gids(*peer)) return std::string{"no two addresses of the devices fit"};
  return std::monostate{};
}

void VerbsFabric::link(fabric::LinkSetup setup, fabric::LinkDone done) {
  const auto peer = decode_hello(setup.hello);
  if (!peer) return done(Error{EPROTO, "verbs hello"});
  if (dead_) return done(Error{ENODEV, "verbs device"});
  const auto port = device_->port_state();
  if (!port || port->state != IBV_PORT_ACTIVE) return done(Error{ENETDOWN, "verbs port"});
  std::optional<GidPair> pair;
  if (setup.dialled) {
    pair = choose_gids(*peer);
    if (!pair) return done(Error{EADDRNOTAVAIL, "verbs addresses"});
  }
  auto link = VerbsLink::start(context_, std::move(setup), *peer, pair);
  if (!link) return done(link.error());
  done(std::unique_ptr<fabric::Link>{std::move(*link)});
}

void VerbsFabric::on_event(ibv_event_type event, const ibv_qp* pair) {
  switch (event) {
    case IBV_EVENT_PORT_ERR:
      log::warn("verbs", "port of {} is down", device_->name());
      if (grace_ == 0)
        // A cable may be moved; queue pairs wait as long.
        grace_ = context_.loop.after(context_.patience(), [this] {
          grace_ = 0;
          fail_links({ENETDOWN, "verbs port"});
        });
      break;
    case IBV_EVENT_PORT_ACTIVE:
      log::info("verbs", "port of {} is up", device_->name());
      context_.loop.forget(std::exchange(grace_, 0));
      break;
    case IBV_EVENT_DEVICE_FATAL:
      dead_ = true;
      [[fallthrough]];
    case IBV_EVENT_CQ_ERR:  // not worth finding out whose: it must not happen
    case IBV_EVENT_SRQ_ERR:
      log::error("verbs", "device {}: event {}", device_->name(), static_cast<int>(event));
      fail_links({EIO, "verbs device"});
      break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR: {
      const auto links = context_.links;  // failing one may change the list
      for (VerbsLink* const link : links)
        if (link->owns(pair)) link->fail({ECONNRESET, "verbs queue pair"});
      break;
    }
    default:  // addresses come and go, connections are established: nothing to do
      break;
  }
}

void VerbsFabric::fail_links(Error error) {
  const auto links = context_.links;
  for (VerbsLink* const link : links) link->fail(error);
}

Result<std::unique_ptr<fabric::Fabric>> make(EventLoop& loop, std::unique_ptr<Calls> owned,
                                             Calls& calls, const Options& options) {
  if (options.memory < 4 * std::size_t{kSlab}) return Error{EINVAL, "verbs memory"};
  const InNode inside{options.node_netns};
  if (const Status entered = inside.entered(); !entered) return entered.error();
  auto device = Device::open(calls, options.device);
  if (!device) return device.error();
  if (!(*device)->writes_with_immediate()) return Error{EOPNOTSUPP, "verbs device"};
  auto fabric = std::make_unique<VerbsFabric>(loop, std::move(owned), std::move(*device), options);
  if (const Status watched = fabric->watch(); !watched) return watched.error();
  return std::unique_ptr<fabric::Fabric>{std::move(fabric)};
}

}  // namespace

Result<std::unique_ptr<fabric::Fabric>> make_fabric(EventLoop& loop, Calls& calls,
                                                    const Options& options) {
  return make(loop, nullptr, calls, options);
}

Result<std::unique_ptr<fabric::Fabric>> make_fabric(EventLoop& loop, const Options& options) {
  if (!has_device()) return Error{ENODEV, "/sys/class/infiniband"};
  auto calls = load_library();
  if (!calls) return calls.error();
  Calls& table = **calls;
  return make(loop, std::move(*calls), table, options);
}

}  // namespace shunt::verbs
