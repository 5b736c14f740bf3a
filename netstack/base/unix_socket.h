// AF_UNIX stream sockets that have a path, and descriptors passed over them (unix(7)).
#pragma once

#include <sys/un.h>

#include <cstddef>
#include <span>
#include <string>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt {

/// Error: ENAMETOOLONG, of a path that is empty or longer than sun_path holds (107 bytes).
Result<sockaddr_un> unix_address(const std::string& path);

/// A listener that does not block and is its owner's alone (mode 0600). Error: EADDRINUSE if there
/// is such a file, whether anybody listens on it or not.
Result<UniqueFd> listen_unix(const std::string& path, int backlog);

/// A connected socket; `flags` as for socket(2). It succeeds or fails at once, but a blocking one
/// waits while the listener's backlog is full; EAGAIN says so of the others.
Result<UniqueFd> connect_unix(const std::string& path, int flags);

/// Sends bytes, at least one, with one to `kMostDescriptors` descriptors, in one message; `flags`
/// as for sendmsg(2).
constexpr std::size_t kMostDescriptors = 8;
Status send_descriptors(int socket, std::span<const std::byte> bytes, std::span<const int> fds,
                        int flags);

/// Sends one byte and the descriptor; receives up to 4 KiB, which are dropped, and the descriptor.
/// EPROTO: the message brought none.
Status send_descriptor(int socket, int fd);
Result<UniqueFd> receive_descriptor(int socket);

}  // namespace shunt
