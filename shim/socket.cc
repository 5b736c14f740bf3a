#include "shim/socket.h"

#include <sha256.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "shim/files.h"

namespace shunt {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error{ENAMETOOLONG, "socket path"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool answers(const sockaddr_un& address) {
  const UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
         errno == EAGAIN;
}

}  // namespace

std::string socket_path(const std::string& containerd_address,
                        const std::string& containerd_namespace, const std::string& group,
                        const std::string& directory) {
  const std::string key =
      std::filesystem::path{containerd_address + "/" + containerd_namespace + "/" + group}
          .lexically_normal();
  std::array<char, SHA256_DIGEST_STRING_LENGTH> hex{};
  ::SHA256Data(reinterpret_cast<const std::uint8_t*>(key.data()), key.size(), hex.data());
  return (directory.empty() ? "/run/containerd/s" : directory) + "/" + hex.data();
}

Result<ShimSocket> claim_socket(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return address.error();
  if (const Status made = make_directories(std::filesystem::path{path}.parent_path(), 0711); !made)
    return made.error();
  for (int tries = 0; tries < 3; ++tries) {
    UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!fd.valid()) return last_error("socket");
    const mode_t before = ::umask(0177);
    const int bound =
        ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
    const int problem = errno;
    ::umask(before);
    if (bound == 0) {
      if (::listen(fd.get(), 128) < 0) return last_error("listen");
      return ShimSocket{std::move(fd)};
    }
    if (problem != EADDRINUSE) return Error{problem, "bind"};
    if (answers(*address)) return ShimSocket{};
    ::unlink(path.c_str());
  }
  return Error{EADDRINUSE, "bind"};
}

void remove_dead_socket(const std::string& path) {
  const auto address = address_of(path);
  if (address && !answers(*address)) ::unlink(path.c_str());
}

}  // namespace shunt
