#include "netstack/base/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cstring>

namespace shunt {
namespace {

using Control = std::array<char, CMSG_SPACE(sizeof(int))>;

const sockaddr* general(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

}  // namespace

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error{ENAMETOOLONG, "socket path"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<UniqueFd> listen_unix(const std::string& path, int backlog) {
  const auto address = unix_address(path);
  if (!address) return address.error();
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd.valid()) return last_error("socket");
  // The file gets the socket's mode; so there is no moment at which it is open to others.
  if (::fchmod(fd.get(), 0600) < 0) return last_error("fchmod");
  if (::bind(fd.get(), general(*address), sizeof *address) < 0) return last_error("bind");
  if (::listen(fd.get(), backlog) < 0) return last_error("listen");
  return fd;
}

Result<UniqueFd> connect_unix(const std::string& path, int flags) {
  const auto address = unix_address(path);
  if (!address) return address.error();
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0)};
  if (!fd.valid()) return last_error("socket");
  if (::connect(fd.get(), general(*address), sizeof *address) < 0) return last_error("connect");
  return fd;
}

Status send_descriptors(int socket, std::span<const std::byte> bytes, std::span<const int> fds,
                        int flags) {
  if (fds.size() > kMostDescriptors) return Error{EINVAL, "sendmsg"};
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMostDescriptors * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  if (::sendmsg(socket, &message, flags | MSG_NOSIGNAL) < 0) return last_error("sendmsg");
  return Done{};
}

Status send_descriptor(int socket, int fd) {
  const std::byte byte{};
  return send_descriptors(socket, {&byte, 1}, {&fd, 1}, 0);
}

Result<UniqueFd> receive_descriptor(int socket) {
  std::array<char, 4096> dropped;  // NOLINT: filled by recvmsg
  iovec bytes{dropped.data(), dropped.size()};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return last_error("recvmsg");
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (n == 0 || header == nullptr || header->cmsg_level != SOL_SOCKET ||
      header->cmsg_type != SCM_RIGHTS)
    return Error{EPROTO, "recvmsg"};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return UniqueFd{fd};
}

}  // namespace shunt
