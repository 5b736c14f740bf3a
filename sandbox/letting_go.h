// Closing the TCP socket that was replaced, and finding out that somebody else still has it.
//
// A duplicate made before connect(2) (dup, fork, SCM_RIGHTS) still is the TCP socket after the
// guest's descriptor was replaced; its holder would talk to nobody. Whether there is one can only
// be told once the last descriptor we know of is closed: an epoll entry lives exactly as long as
// the file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "netstack/base/unique_fd.h"

namespace shunt::sandbox {

class LettingGo {
 public:
  /// Before the guest's descriptor is replaced. `inode` (0: not known) and `cookie`: of the socket.
  /// `watch`: an epoll instance of the calling thread, used for one at a time.
  LettingGo(UniqueFd tcp, std::uint64_t inode, std::uint64_t cookie, UniqueFd& watch);
  LettingGo(LettingGo&&) = default;
  LettingGo& operator=(LettingGo&&) = default;
  ~LettingGo();

  /// After it was replaced: closes the socket by a reset, which is what tells the server that the
  /// offer holds. If another holder kept it alive, no reset was sent, and the socket comes back,
  /// found among the descriptors of `tid`, of a process in its network namespace `netns`, or now
  /// and then of any process of the node. An invalid descriptor: it is alive but was not found (it
  /// may be travelling in a message), or nobody can tell.
  std::optional<UniqueFd> close_unless_shared(pid_t tid, std::uint64_t netns);

 private:
  UniqueFd tcp_;
  UniqueFd* watch_ = nullptr;
  std::uint64_t inode_ = 0;
  std::uint64_t cookie_ = 0;
  bool watched_ = false;
};

}  // namespace shunt::sandbox
