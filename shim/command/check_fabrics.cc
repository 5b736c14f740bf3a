// Which fabrics this host can offer: each is made as a shim would make it, and let go again.
#include "config/load.h"
#include "netstack/base/event_loop.h"
#include "netstack/base/netns.h"
#include "sandbox/cluster_key.h"
#include "sandbox/fabrics.h"
#include "shim/command/check.h"

namespace shunt::command {

std::vector<Finding> check_fabrics(const std::string& config_path) {
  const auto config = config_path.empty() ? config::load_default() : config::load_file(config_path);
  if (!config) return {};  // said by check_programs
  if (config->fabrics.enabled.empty())
    return {{"fabrics", Fitness::kOk, "off (fabrics.enabled names none)", ""}};
  const auto home = current_netns();
  if (!home) return {{"fabrics", Fitness::kDegraded, "unknown", describe(home.error())}};
  if (const auto key = sandbox::read_cluster_key(config->fabrics.key_file); !key)
    return {{"fabrics.key_file", Fitness::kDegraded, "unusable",
             key.error() + "; pods of different nodes use the overlay"}};
  EventLoop loop;
  std::vector<Finding> findings;
  bool any = false;
  const auto fabrics = sandbox::make_fabrics(loop, config->fabrics, home->get());
  for (const sandbox::OfferedFabric& fabric : fabrics) {
    const bool offered = fabric.fabric != nullptr;
    any = any || offered;
    findings.push_back({"fabric " + fabric.name, offered ? Fitness::kOk : Fitness::kDegraded,
                        offered ? "yes" : "no", offered ? "" : fabric.why});
  }
  if (!any)
    findings.push_back({"connections to other nodes", Fitness::kDegraded, "kernel TCP",
                        "no fabric can be offered: pods of different nodes use the overlay"});
  return findings;
}

}  // namespace shunt::command
