// Receives a notify descriptor from an OCI runtime.
//
// For each process it sets up with a NOTIFY filter (the container's first one and every exec), the
// runtime connects to `listenerPath`, sends one JSON object with the descriptor attached to its
// first bytes, and is to close then ("container process state" in the OCI runtime specification,
// config-linux.md). crun may connect long before it sends. runc 1.1.5 leaves the connection open
// for as long as its process lives, which for an exec is until the program under the filter ends:
// to wait for the end of file would be a deadlock. So the message is over when the object is.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::sandbox {

/// What the runtime says about the process. `ociVersion` is not looked at: runtimes send oddities.
struct ProcessState {
  pid_t pid = 0;  ///< of the process under the filter, in the runtime's pid namespace
  std::string container_id;
  std::string status;  ///< "creating" for a first process, "running" for an exec
  std::string bundle;
  std::string metadata;          ///< listenerMetadata, verbatim
  std::size_t notify_index = 0;  ///< which of the descriptors sent is the notify descriptor
  std::size_t fd_count = 0;      ///< how many the message says were sent
};

/// The JSON part alone. EPROTO: not such a message.
Result<ProcessState> parse_process_state(std::string_view json);

struct ReceivedListener {
  UniqueFd notify;
  ProcessState state;
};

/// One connection, from accept to the end of the message. Used by one thread, driven by
/// readability; blocks nowhere, whatever the mode of the socket.
class ListenerReceiver {
 public:
  explicit ListenerReceiver(UniqueFd socket) : socket_{std::move(socket)} {}
  int fd() const noexcept { return socket_.get(); }  ///< to watch for EPOLLIN

  /// Reads what is there. Nothing yet: an empty optional. After a value or an error the connection
  /// is over and the object may be destroyed; descriptors that are not handed out are closed.
  /// Errors: EPROTO not such a message, or end of file before it was whole; EMSGSIZE longer than
  /// kMaxMessage; EMFILE descriptors were lost on the way in (this process has too many); those of
  /// recvmsg(2).
  Result<std::optional<ReceivedListener>> on_readable();

  /// Annotations travel in the message, and Kubernetes allows 256 KiB of them before escaping.
  static constexpr std::size_t kMaxMessage = std::size_t{2} << 20;

 private:
  Status take_descriptors(msghdr& message, bool first);
  Result<std::optional<ReceivedListener>> finish();

  UniqueFd socket_;
  std::string text_;
  std::vector<UniqueFd> fds_;
};

}  // namespace shunt::sandbox
