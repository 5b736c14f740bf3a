#include "netstack/base/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace shunt {

Result<UniqueFd> netns_of(pid_t tid) {
  const std::string path = "/proc/" + std::to_string(tid) + "/ns/net";
  UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd.valid()) return last_error("open netns");
  return fd;
}

Result<UniqueFd> current_netns() {
  UniqueFd fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
  if (!fd.valid()) return last_error("open netns");
  return fd;
}

Result<std::uint64_t> netns_inode(int netns) {
  struct stat info {};
  if (::fstat(netns, &info) < 0) return last_error("fstat netns");
  return std::uint64_t{info.st_ino};
}

Result<std::uint64_t> socket_netns_cookie(int socket) {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(socket, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) < 0)
    return last_error("SO_NETNS_COOKIE");
  return cookie;
}

InNetns::InNetns(int netns) {
  Result<UniqueFd> home = current_netns();
  if (!home) {
    status_ = home.error();
    return;
  }
  if (::setns(netns, CLONE_NEWNET) < 0) {
    status_ = last_error("setns");
    return;
  }
  home_ = std::move(*home);
}

InNetns::~InNetns() {
  if (home_.valid() && ::setns(home_.get(), CLONE_NEWNET) < 0) std::abort();
}

}  // namespace shunt
