// One AF_UNIX connection between two window fabrics, for one message with two descriptors each way.
#pragma once

#include <string>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "netstack/fabric/fabric.h"

namespace shunt::window {

/// Non-blocking SOCK_SEQPACKET sockets at a path. ENAMETOOLONG: longer than an AF_UNIX path may be.
Result<UniqueFd> listen_at(const std::string& path);
Result<UniqueFd> connect_to(const std::string& path);

struct Delivery {
  fabric::Bytes message;
  UniqueFd window;
  UniqueFd bell;
};
Status deliver(int connection, fabric::View message, int window, int bell);
/// EAGAIN: nothing there yet. EPROTO: not one message with a memory and an eventfd.
Result<Delivery> collect(int connection);

}  // namespace shunt::window
