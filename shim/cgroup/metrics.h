// Container metrics from cgroup files, as serialized containerd messages. A missing file or
// controller leaves its part of the message out; nothing here fails.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace shunt {

/// `folder` gives the container's folder of a v1 controller, or "".
std::string metrics_v1(const std::function<std::string(std::string_view controller)>& folder);
std::string metrics_v2(const std::string& folder);

}  // namespace shunt
