#include "config/config.h"

namespace shunt::config {

std::vector<Cidr> default_ranges() {
  std::vector<Cidr> ranges;
  for (const char* text : {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
                           "198.18.0.0/15", "fc00::/7"})
    ranges.push_back(*Cidr::parse(text));
  return ranges;
}

}  // namespace shunt::config
