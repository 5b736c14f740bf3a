#include "config/check.h"

#include <fmt/core.h>

#include <algorithm>

#include "config/keys.h"

namespace shunt::config {

std::vector<Complaint> check(const Config& config) {
  std::vector<Complaint> complaints;
  for (const Key& key : keys())
    if (const Verdict verdict = key.check(config); !verdict)
      complaints.push_back({key.name, fmt::format("\"{}\" {}", key.name, verdict.error())});

  if (config.upgrade.enabled && config.upgrade.ranges.empty() && !config.upgrade.loopback)
    complaints.push_back(
        {"upgrade.ranges",
         "\"upgrade.ranges\" is empty and \"upgrade.loopback\" is false, so nothing "
         "could be upgraded; set \"upgrade.enabled\" to false if that is meant"});

  const Fabrics& fabrics = config.fabrics;
  if (fabrics.host.port + fabrics.host.ports > 65536)
    complaints.push_back({"fabrics.host.ports",
                          fmt::format("\"fabrics.host.ports\" reaches beyond port 65535: {} ports "
                                      "from {} on",
                                      fabrics.host.ports, fabrics.host.port)});
  const auto asks_for = [&](FabricName name) {
    return std::find(fabrics.enabled.begin(), fabrics.enabled.end(), name) != fabrics.enabled.end();
  };
  if (asks_for(FabricName::kWindow) && fabrics.window.directory.empty())
    complaints.push_back({"fabrics.window.directory",
                          "\"fabrics.window.directory\" is empty although \"fabrics.enabled\" "
                          "names window"});
  return complaints;
}

}  // namespace shunt::config
