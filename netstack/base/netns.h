// Network namespaces: identity, and running a few calls inside another one.
//
// A namespace belongs to a thread; a socket belongs to the namespace its thread was in when it was
// made. Needs CAP_SYS_ADMIN.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt {

/// The namespace of a thread, or of the calling one.
Result<UniqueFd> netns_of(pid_t tid);
Result<UniqueFd> current_netns();

/// Inode number of a namespace descriptor: the same number means the same namespace while anybody
/// holds it.
Result<std::uint64_t> netns_inode(int netns);

/// SO_NETNS_COOKIE (Linux 5.14): unlike the inode never reused. What sockets are compared with.
Result<std::uint64_t> socket_netns_cookie(int socket);

/// The calling thread is in `netns` for the life of this object. Ends the process if it cannot come
/// back: a thread in an unknown namespace must not go on.
class InNetns {
 public:
  explicit InNetns(int netns);
  ~InNetns();
  InNetns(const InNetns&) = delete;
  InNetns& operator=(const InNetns&) = delete;
  Status entered() const { return status_; }

 private:
  UniqueFd home_;
  Status status_ = Done{};
};

}  // namespace shunt
