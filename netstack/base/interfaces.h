// The addresses of network devices (getifaddrs(3)).
#pragma once

#include <string>
#include <vector>

#include "netstack/base/endpoint.h"
#include "netstack/base/result.h"

namespace shunt {

struct InterfaceAddress {
  std::string device;
  IpAddress address{};
};

/// Of all devices that are up, in the namespace of the calling thread, without loopback and
/// link-local ones, in the kernel's order. An address that two devices have is there twice.
Result<std::vector<InterfaceAddress>> interface_addresses();

}  // namespace shunt
