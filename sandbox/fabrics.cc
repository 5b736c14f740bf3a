#include "sandbox/fabrics.h"

#include <algorithm>

#include "netstack/host/host_fabric.h"
#include "netstack/verbs/fabric.h"
#include "netstack/window/window_fabric.h"

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

OfferedFabric made(std::string name, Result<std::unique_ptr<fabric::Fabric>> fabric) {
  if (!fabric) return {std::move(name), nullptr, describe(fabric.error())};
  return {std::move(name), std::move(*fabric), {}};
}

OfferedFabric make_window(EventLoop& loop, const config::WindowFabric& options,
                          config::Milliseconds silence) {
  window::Options wanted;
  wanted.mover.lost_beats = static_cast<int>(silence / wanted.mover.beat);
  wanted.directory = options.directory;
  wanted.memory = static_cast<std::uint32_t>(std::min(options.memory, std::uint64_t{1} << 31U));
  auto fabric = made("window", window::make_fabric(loop, std::move(wanted)));
  if (fabric.fabric == nullptr) fabric.why = options.directory + ": " + fabric.why;
  return fabric;
}

OfferedFabric make_verbs(EventLoop& loop, const config::VerbsFabric& options,
                         config::Milliseconds silence, int node_netns) {
  verbs::Options wanted;
  wanted.tuning = verbs::Tuning::bearing(silence);
  wanted.device = options.device;
  wanted.gid_index = options.gid_index;
  wanted.memory = options.memory;
  wanted.queue_pairs = options.queue_pairs;
  wanted.ring.streams = options.streams;
  wanted.node_netns = node_netns;
  auto fabric = made("verbs", verbs::make_fabric(loop, wanted));
  if (fabric.fabric == nullptr && fabric.why.find("ENODEV") != std::string::npos)
    fabric.why = "this host has no RDMA device";
  return fabric;
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
        result.push_back(make_window(loop, options.window, options.silence));
        break;
      case config::FabricName::kVerbs:
        result.push_back(make_verbs(loop, options.verbs, options.silence, node_netns));
        break;
    }
  }
  return result;
}

}  // namespace shunt::sandbox
