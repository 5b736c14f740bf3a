// Which address of this node other nodes reach.
#pragma once

#include <string>

#include "netstack/base/endpoint.h"
#include "netstack/base/result.h"

namespace shunt::host {

/// `configured`, if it is an address of the namespace of the calling thread; if empty, the source
/// address of the default route, else the first address of a device that is no bridge and no
/// tunnel. A sentence if there is none.
Result<IpAddress, std::string> node_address(const std::string& configured);

}  // namespace shunt::host
