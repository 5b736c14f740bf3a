// Real TCP sockets that stand in for a fast one when its options are asked for.
//
// A shadow is made in the pod's namespace, is told everything the fast socket was told, answers one
// question, and is closed. So values, defaults and errors are the kernel's own.
#pragma once

#include "netstack/local/fast_socket.h"
#include "sandbox/call.h"

namespace shunt::sandbox {

Result<UniqueFd> make_shadow(Call& call, int family, std::uint64_t cookie);

/// One that is connected, over the pod's loopback, to a peer that lives as long as it does.
struct ConnectedShadow {
  UniqueFd socket;
  UniqueFd peer;
};
Result<ConnectedShadow> make_connected_shadow(Call& call, int family, std::uint64_t cookie);

/// The guest's socket of a call, by its first argument.
struct Subject {
  UniqueFd socket;  ///< a duplicate
  std::uint64_t cookie = 0;
  std::optional<local::FastSocket> fast;
};
/// Nothing if there is no such descriptor, or the pod does not upgrade.
std::optional<Subject> subject_of(Call& call);

}  // namespace shunt::sandbox
