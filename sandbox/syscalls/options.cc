// getsockopt(2), setsockopt(2): where AF_UNIX would answer otherwise than TCP.
//
//   kernel socket, getsockopt     runs in the kernel
//   kernel socket, setsockopt     runs in the kernel; noted, to be carried over by an upgrade
//   fast socket, setsockopt       done to a fresh TCP socket that was told the same before: its
//   errno
//                                 is the answer, success is noted
//   fast socket, getsockopt       asked of such a socket; what depends on the connection (TCP_INFO,
//                                 TCP_MAXSEG, ...) of a connected one
//   a value longer than kLongest  runs in the kernel (TCP has no option as long)
//   SO_PASS... of any socket      done by the supervisor to its duplicate, see set_passing()

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "netstack/local/mailbox.h"
#include "sandbox/shadow.h"
#include "sandbox/syscall_table.h"

#ifndef SO_PEERPIDFD
#define SO_PASSPIDFD 76
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

namespace shunt::sandbox {
namespace {

constexpr int kLongest = 1024;

bool depends_on_connection(int level, int name) {
  constexpr std::array kNames{TCP_INFO, TCP_MAXSEG, TCP_CC_INFO, TCP_WINDOW_CLAMP, TCP_QUICKACK};
  return level == IPPROTO_TCP && std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

/// What lets descriptors and credentials through an AF_UNIX socket.
bool lets_pass(int level, int name) {
  constexpr std::array kNames{SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD, SO_PASSRIGHTS};
  return level == SOL_SOCKET && std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

/// One of those, on whatever socket the number means now. It may mean a fast one a moment later, so
/// the kernel must not be left to do it. The kernel reads an int, however long the value is.
Reply set_passing(Call& call, int name, int length) {
  const auto on = subject_of(call);
  if (call.services.network == nullptr) return RunInKernel{};  // there are no fast sockets
  if (!on) return Fail{call.guest.fetch(call.fd()) ? ENOTSOCK : EBADF};
  if (length < static_cast<int>(sizeof(int))) return Fail{EINVAL};
  const auto value = call.guest.read(GuestPtr<int>{call.args[3]});
  if (!value) return Fail{EFAULT};
  const int* bytes = &*value;
  const auto as_bytes = std::as_bytes(std::span{bytes, 1});
  SocketOption option{SOL_SOCKET, name, {as_bytes.begin(), as_bytes.end()}};
  UniqueFd shadow;
  if (on->fast) {
    auto tcp = make_shadow(call, on->fast->family(), on->cookie);
    if (!tcp) return Fail{ENOBUFS};
    shadow = std::move(*tcp);
  }
  const int subject = on->fast ? shadow.get() : on->socket.get();
  if (::setsockopt(subject, SOL_SOCKET, name, bytes, sizeof *bytes) < 0) return Fail{errno};
  if (on->fast || !remote_endpoint(on->socket.get()))
    call.services.notes.set(on->cookie, std::move(option));
  return Return{0};
}

/// The TCP socket to ask. What depends on the connection is asked of one whose peer has done what
/// the fast socket's peer did.
Result<ConnectedShadow> socket_to_ask(Call& call, const Subject& on, bool connected) {
  if (!connected) {
    auto shadow = make_shadow(call, on.fast->family(), on.cookie);
    if (!shadow) return shadow.error();
    return ConnectedShadow{std::move(*shadow), {}};
  }
  auto shadow = make_connected_shadow(call, on.fast->family(), on.cookie);
  if (shadow && local::peek(on.socket.get()) == local::Peek::kEnd)
    ::shutdown(shadow->peer.get(), SHUT_WR);
  return shadow;
}

}  // namespace

Reply on_setsockopt(Call& call) {
  const int level = call.integer(1);
  const int name = call.integer(2);
  const int length = call.integer(4);
  if (lets_pass(level, name)) return set_passing(call, name, length);
  const auto on = subject_of(call);
  if (!on || length < 0 || length > kLongest) return RunInKernel{};
  SocketOption option{level, name, std::vector<std::byte>(static_cast<std::size_t>(length))};
  if (!option.value.empty() && !call.guest.copy_in(call.args[3], option.value))
    return on->fast ? Reply{Fail{EFAULT}} : Reply{RunInKernel{}};

  if (!on->fast) {
    // A connected socket will not be upgraded any more, so there is nothing to carry.
    if (!remote_endpoint(on->socket.get())) call.services.notes.set(on->cookie, std::move(option));
    return RunInKernel{};
  }
  const auto tcp = make_shadow(call, on->fast->family(), on->cookie);
  if (!tcp) return Fail{ENOBUFS};
  if (!call.guest.waiting()) return Fail{EINTR};
  if (::setsockopt(tcp->get(), level, name, option.value.data(),
                   static_cast<socklen_t>(option.value.size())) < 0)
    return Fail{errno};
  call.services.notes.set(on->cookie, std::move(option));
  return Return{0};
}

Reply on_getsockopt(Call& call) {
  const int level = call.integer(1);
  const int name = call.integer(2);
  const auto on = subject_of(call);
  if (!on || !on->fast) return RunInKernel{};
  const GuestPtr<int> length_at{call.args[4]};
  const auto room = call.guest.read(length_at);
  if (!room) return Fail{EFAULT};
  if (*room < 0) return Fail{EINVAL};

  const auto tcp = socket_to_ask(call, *on, depends_on_connection(level, name));
  if (!tcp) return Fail{ENOBUFS};
  std::array<std::byte, kLongest> value{};
  auto length = static_cast<socklen_t>(std::min(*room, kLongest));
  if (::getsockopt(tcp->socket.get(), level, name, value.data(), &length) < 0) return Fail{errno};
  if (!call.guest.waiting()) return Fail{EINTR};
  const auto bytes = std::span{value}.first(std::min<std::size_t>(length, value.size()));
  if (!bytes.empty() && !call.guest.copy_out(call.args[3], bytes)) return Fail{EFAULT};
  if (!call.guest.write(length_at, static_cast<int>(length))) return Fail{EFAULT};
  return Return{0};
}

}  // namespace shunt::sandbox
