#include "netstack/window/rendezvous.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "netstack/base/unix_socket.h"

namespace shunt::window {
namespace {

Result<UniqueFd> make_socket() {
  UniqueFd socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket.valid()) return last_error("socket(AF_UNIX)");
  return socket;
}

/// We shall write to it from the fabric thread, so it must be what cannot block.
bool is_bell(int fd) {
  std::array<char, 64> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  if (::readlink(link.c_str(), target.data(), target.size() - 1) < 0) return false;
  const int flags = ::fcntl(fd, F_GETFL);
  return std::strcmp(target.data(), "anon_inode:[eventfd]") == 0 && (flags & O_NONBLOCK) != 0;
}

}  // namespace

Result<UniqueFd> listen_at(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return address.error();
  auto socket = make_socket();
  if (!socket) return socket;
  ::unlink(path.c_str());
  if (::bind(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) < 0)
    return last_error("bind");
  if (::listen(socket->get(), 64) < 0) return last_error("listen");
  return socket;
}

Result<UniqueFd> connect_to(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) return address.error();
  auto socket = make_socket();
  if (!socket) return socket;
  if (::connect(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) < 0)
    return last_error("connect");
  return socket;
}

Status deliver(int connection, fabric::View message, int window, int bell) {
  const std::array<int, 2> descriptors{window, bell};
  return send_descriptors(connection, message, descriptors, MSG_DONTWAIT);
}

Result<Delivery> collect(int connection) {
  Delivery delivery;
  delivery.message.resize(512);
  iovec part{delivery.message.data(), delivery.message.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(8 * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(connection, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return last_error("recvmsg");
  delivery.message.resize(static_cast<std::size_t>(n));
  std::size_t count = 0;
  for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(&header, each)) {
    if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= each->cmsg_len; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(each) + i * sizeof fd, sizeof fd);
      const UniqueFd unwanted{count > 1 ? fd : -1};  // ours to close, too
      if (count == 0) delivery.window = UniqueFd{fd};
      if (count == 1) delivery.bell = UniqueFd{fd};
      ++count;
    }
  }
  if (n == 0 || count != 2 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      !is_bell(delivery.bell.get()))
    return Error{EPROTO, "window rendezvous"};
  return delivery;
}

}  // namespace shunt::window
