// The private network namespace of the node: where fast sockets are made.
//
// No container is ever in it. So an abstract AF_UNIX name bound there can only come from a
// supervisor, and a socket whose namespace cookie is this one's is a fast socket. Every address is
// local in it (routes `local 0.0.0.0/0` and `local ::/0` on lo), so that a real TCP pair can be
// bound to the true addresses of two pods.
//
// It lives exactly as long as some supervisor does: the first makes it, later ones find it through
// the node table. No mount, no file.
#pragma once

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "netstack/local/node_table.h"

namespace shunt::local {

/// Opens the namespace other pods use, or makes one. Requires: the table's lock held.
Result<UniqueFd> join_private_net(NodeTable& table);

/// Opens a namespace another supervisor holds; checks that it is still that one.
Result<UniqueFd> open_netns_of(pid_t process, int its_fd);

/// Each address of the namespace of the calling thread that others may reach, once.
Result<std::vector<IpAddress>> pod_addresses();

}  // namespace shunt::local
