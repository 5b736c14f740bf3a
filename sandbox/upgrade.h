// The client's half of the upgrade: from an established TCP connection to a fast one, or a reason
// why not.
//
// The order is what makes it safe. The kernel has connected the program's own socket. The server's
// namespace is asked for the connection; only if the kernel knows it there, established, can it
// reach that listener's accept queue. The offer goes into the mailbox; the line in the node table
// is closed by compare-and-swap, which fails if the server has stopped waiting; the descriptor is
// replaced; and the old connection is reset, which is how the server hears that the offer holds.
// Giving up at any step is closing the offer: the server sees its end hang up and hands out TCP.
#pragma once

#include <memory>

#include "netstack/base/move_function.h"
#include "netstack/local/fast_socket.h"
#include "sandbox/call.h"
#include "sandbox/connects_in_hand.h"

namespace shunt::sandbox {

/// An established connection of a guest, on a duplicate of its socket.
struct Established {
  UniqueFd tcp;
  std::uint64_t cookie = 0;
  int family = AF_INET;
  Endpoint target;                             ///< what the program asked for
  std::uint64_t ticket = 0;                    ///< of the worker's line, still open
  FdInfo info;                                 ///< of the guest's descriptor
  std::shared_ptr<const SocketOptions> noted;  ///< what the program told the socket
  int error = 0;                               ///< what connect(2) is to return: 0 or EINPROGRESS
  ConnectsInHand::Hold hold;                   ///< until the call is answered
};

/// The answer to connect(2). Closes the line in every case.
Reply upgrade(Call& call, Established connection);

/// What takes the place of the program's TCP socket.
struct Replacement {
  UniqueFd socket;
  std::uint64_t cookie = 0;
  Path path{};  ///< counted if it does
  local::FastName name;
  /// Told once whether it did; before the old connection is known to be closed by the server's
  /// side, and before the call returns.
  MoveFunction<void(bool upgraded)> ended;
};
/// The last step: the answer that puts it in place, and lets go of the TCP socket by a reset.
/// `watch`: see LettingGo; of the thread that will deliver.
Reply put_in_place(Services& services, const CallId& call, GuestFd number, Established connection,
                   UniqueFd& watch, Replacement replacement);

/// Before that: registers `socket` in the epoll instances that have `number`.
bool repair_epolls(Services& services, Guest& guest, GuestFd number, int socket);

/// The answer of a connect(2) whose program keeps the TCP connection.
Reply on_tcp(Services& services, const Established& connection);

bool lingers_zero(int socket);  ///< SO_LINGER {1, 0}
/// What the program had told its own socket, told to a real TCP one.
void apply_options(int socket, const SocketOptions& noted);
/// Buffer sizes that the program chose itself.
void carry_buffers(int from, int to);

/// Options with which a socket cannot be replaced by another one. Asked before connect, so that no
/// server waits for a decision that can only be no.
bool must_stay(int socket, const FdInfo& info, const SocketOptions& noted);

}  // namespace shunt::sandbox
