// The two ends of a fast connection.
//
// *unix*: an AF_UNIX stream pair. The client's end is bound to a FastName and connected to the
// server's mailbox; the server's end is what the mailbox accepts.
// *tcp*: a real TCP pair over the loopback of the private namespace, bound to the true addresses,
// so that every option, state and error is the kernel's own.
//
// Functions that make sockets must be called on a thread inside the private namespace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "netstack/local/fast_name.h"

namespace shunt::local {

enum class PairKind { kUnix, kTcp };

/// The client's end, already waiting in the mailbox: the kernel's queue is the letter box, nobody
/// is woken. Non-blocking until the caller says otherwise. Errors:
///   ECONNREFUSED   no such mailbox: the listener is not published
///   EAGAIN         the mailbox is full
///   EADDRINUSE     too many fast connections (unix), or another one (tcp), have these addresses
///   ENAMETOOLONG   see encode()
Result<UniqueFd> offer(const FastName& name, std::uint64_t server_netns, PairKind kind,
                       std::size_t most_buffer);

/// What the send buffer of each end of kind unix is at first: what a writer may get ahead of a
/// reader at no loss. Those that this is too little for get more (crowded_ends.h).
std::size_t first_buffer(const Endpoint& client, const Endpoint& server);

/// Writes the time onto a fast socket: its modification time, which nothing else uses. So the
/// kernel keeps a connection's age, and `stat -L /proc/PID/fd/N` shows it to anybody.
void stamp(int socket);

/// Binds a client's end to its name, numbered if another living connection has the same addresses.
/// ENAMETOOLONG, EADDRINUSE.
Status bind_name(int socket, FastName name);

/// What a unix pair needs beyond being connected: a send buffer, and no passing of descriptors.
/// `send_buffer` is what the kernel is told; it allows twice as much. A write is charged at least
/// 768 bytes.
void prepare_unix_end(int socket, std::size_t send_buffer);
/// The same for an end out of a mailbox, which refuses descriptors already.
void prepare_accepted_end(int socket, std::size_t send_buffer);

/// A unix fast socket, recognised by what the kernel says about it.
struct FastSocket {
  FastName name;
  bool is_client = false;
  int family() const { return is_client ? name.client_family : name.server_family; }
  const Endpoint& local() const { return is_client ? name.client : name.server; }
  const Endpoint& remote() const { return is_client ? name.service : name.client; }
};
/// `private_cookie` is the namespace cookie of the private net; a name forged elsewhere has
/// another.
std::optional<FastSocket> identify(int socket, std::uint64_t private_cookie);

/// Timeouts, linger and such: what a program may have set before the socket was replaced, and what
/// accepted sockets inherit from their listener.
void carry_socket_options(int from, int to);

}  // namespace shunt::local
