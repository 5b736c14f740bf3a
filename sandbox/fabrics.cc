#include "sandbox/fabrics.h"

#include "netstack/host/host_fabric.h"

namespace shunt::sandbox {
namespace {

OfferedFabric make_host(EventLoop& loop, const config::HostFabric& options, int node_netns) {
  host::HostOptions wanted;
  wanted.node_netns = node_netns;
  wanted.address = options.address;
  wanted.ports = {static_cast<std::uint16_t>(options.port),
                  static_cast<std::uint16_t>(options.ports)};
  wanted.guarded = options.guard == config::Guard::kRequired;
  auto made = host::HostFabric::create(loop, std::move(wanted));
  if (!made) return {"host", nullptr, made.error()};
  return {"host", std::move(*made), {}};
}

}  // namespace

std::vector<OfferedFabric> make_fabrics(EventLoop& loop, const config::Fabrics& options,
                                        int node_netns) {
  std::vector<OfferedFabric> result;
  for (const config::FabricName name : options.enabled) {
    switch (name) {
      case config::FabricName::kHost:
        result.push_back(make_host(loop, options.host, node_netns));
        break;
      case config::FabricName::kWindow:
        result.push_back({"window", nullptr, "this build has no window fabric"});
        break;
      case config::FabricName::kVerbs:
        result.push_back({"verbs", nullptr, "this build has no verbs fabric"});
        break;
    }
  }
  return result;
}

}  // namespace shunt::sandbox
