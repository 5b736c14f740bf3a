// From the configuration to the fabrics that this host can offer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "netstack/base/event_loop.h"
#include "netstack/fabric/fabric.h"

namespace shunt::sandbox {

struct OfferedFabric {
  std::string name;                        ///< as in fabrics.enabled
  std::unique_ptr<fabric::Fabric> fabric;  ///< null: it cannot be offered
  std::string why;                         ///< a sentence, then
};

/// In the configured order. `loop` runs on the calling thread, which may be in any network
/// namespace; `node_netns` is borrowed as long as they live. May take some 20 ms (nft).
std::vector<OfferedFabric> make_fabrics(EventLoop& loop, const config::Fabrics& options,
                                        int node_netns);

}  // namespace shunt::sandbox
