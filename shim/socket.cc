#include "shim/socket.h"

#include <sha256.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "netstack/base/unix_socket.h"
#include "shim/files.h"

namespace shunt {
namespace {

bool answers(const std::string& path) {
  const auto connected = connect_unix(path, SOCK_NONBLOCK);
  return connected || connected.error().number == EAGAIN;
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
  if (const Status made = make_directories(std::filesystem::path{path}.parent_path(), 0711); !made)
    return made.error();
  for (int tries = 0; tries < 3; ++tries) {
    auto listener = listen_unix(path, 128);
    if (listener) return ShimSocket{std::move(*listener)};
    if (listener.error().number != EADDRINUSE) return listener.error();
    if (answers(path)) return ShimSocket{};
    ::unlink(path.c_str());
  }
  return Error{EADDRINUSE, "bind"};
}

void remove_dead_socket(const std::string& path) {
  if (!answers(path)) ::unlink(path.c_str());
}

}  // namespace shunt
