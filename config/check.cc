#include "config/check.h"

#include <fmt/core.h>

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
  return complaints;
}

}  // namespace shunt::config
