#include "sandbox/letting_go.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

namespace shunt::sandbox {
namespace {

void set_linger(int socket, bool reset) {
  const linger value{reset ? 1 : 0, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &value, sizeof value);
}

std::string link_of(const std::string& path) {
  std::array<char, 64> target{};
  const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
  return size <= 0 ? std::string{} : std::string{target.data(), static_cast<std::size_t>(size)};
}

/// Calls `visit` with each number that is a name in the directory, until it returns true.
template <typename Visit>
void each_number(const std::string& directory, Visit visit) {
  DIR* list = ::opendir(directory.c_str());
  if (list == nullptr) return;
  while (const dirent* entry = ::readdir(list)) {
    const std::string_view name{entry->d_name};
    int number = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error == std::errc{} && end == name.data() + name.size() && visit(number)) break;
  }
  ::closedir(list);
}

UniqueFd find_in(pid_t tid, const std::string& socket) {
  UniqueFd found;
  const std::string directory = "/proc/" + std::to_string(tid) + "/fd/";
  each_number(directory, [&](int number) {
    if (link_of(directory + std::to_string(number)) != socket) return false;
    UniqueFd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, tid, O_EXCL))};
    if (!pidfd.valid()) pidfd = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, tid, 0))};
    found = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), number, 0))};
    struct stat info {};
    // The number may have been reused in between.
    if (!found.valid() || ::fstat(found.get(), &info) < 0 ||
        "socket:[" + std::to_string(info.st_ino) + "]" != socket)
      found.reset();
    return found.valid();
  });
  return found;
}

}  // namespace

LettingGo::LettingGo(UniqueFd tcp, std::uint64_t inode, UniqueFd& watch)
    : tcp_{std::move(tcp)}, watch_{&watch}, inode_{inode} {
  struct stat info {};
  if (inode_ == 0 && ::fstat(tcp_.get(), &info) == 0) inode_ = info.st_ino;
  epoll_event event{};
  event.events = EPOLLOUT;  // an established connection is writable: an entry is an event
  ::epoll_ctl(watch_->get(), EPOLL_CTL_ADD, tcp_.get(), &event);
}

LettingGo::~LettingGo() {
  if (tcp_.valid()) ::epoll_ctl(watch_->get(), EPOLL_CTL_DEL, tcp_.get(), nullptr);
}

std::optional<UniqueFd> LettingGo::close_unless_shared(pid_t tid) {
  set_linger(tcp_.get(), true);
  tcp_.reset();
  epoll_event event{};
  if (::epoll_wait(watch_->get(), &event, 1, 0) <= 0) return std::nullopt;

  // The entry cannot be named any more: its descriptor is closed. So the instance goes.
  *watch_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
  const std::string socket = "socket:[" + std::to_string(inode_) + "]";
  UniqueFd found = find_in(tid, socket);
  if (!found.valid()) {
    const std::string home = link_of("/proc/" + std::to_string(tid) + "/ns/net");
    each_number("/proc", [&](int process) {
      if (link_of("/proc/" + std::to_string(process) + "/ns/net") != home) return false;
      found = find_in(process, socket);
      return found.valid();
    });
  }
  if (found.valid()) set_linger(found.get(), false);
  return found;
}

}  // namespace shunt::sandbox
