#include "shim/inspect/ages.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <string>

#include "netstack/base/proc_link.h"

namespace shunt {
namespace {

double seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

}  // namespace

SocketAges::SocketAges(std::span<const pid_t> processes, std::vector<std::uint32_t> inodes)
    : inodes_{std::move(inodes)} {
  std::sort(inodes_.begin(), inodes_.end());
  inodes_.erase(std::unique(inodes_.begin(), inodes_.end()), inodes_.end());
  ages_.resize(inodes_.size());
  missing_ = inodes_.size();
  for (const pid_t process : processes) {
    if (missing_ == 0) return;
    look_at(process);
  }
}

std::optional<double> SocketAges::of(std::uint32_t inode) const {
  const auto at = std::lower_bound(inodes_.begin(), inodes_.end(), inode);
  if (at == inodes_.end() || *at != inode) return std::nullopt;
  return ages_[static_cast<std::size_t>(at - inodes_.begin())];
}

void SocketAges::look_at(pid_t process) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::string folder = "/proc/" + std::to_string(process) + "/fd";
  const std::unique_ptr<DIR, int (*)(DIR*)> descriptors{::opendir(folder.c_str()), ::closedir};
  if (!descriptors) return;
  const int at = ::dirfd(descriptors.get());
  while (const dirent* entry = missing_ == 0 ? nullptr : ::readdir(descriptors.get())) {
    // The link first: looking at a file behind it could wait for a server that is away.
    const auto inode = inode_of_link(at, entry->d_name, "socket");
    if (!inode) continue;
    const auto known = std::lower_bound(inodes_.begin(), inodes_.end(), *inode);
    if (known == inodes_.end() || *known != *inode) continue;
    std::optional<double>& age = ages_[static_cast<std::size_t>(known - inodes_.begin())];
    struct stat status {};
    // Not a fast socket's any more: the descriptor was closed and its number taken since.
    if (age || ::fstatat(at, entry->d_name, &status, 0) < 0 || status.st_ino != *inode ||
        status.st_mtim.tv_sec == 0)
      continue;
    age = std::max(0.0, seconds(now) - seconds(status.st_mtim));
    --missing_;
  }
}

}  // namespace shunt
