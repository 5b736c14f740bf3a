#include "shim/inspect/ages.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>

namespace shunt {
namespace {

double seconds(const timespec& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

}  // namespace

std::map<std::uint32_t, double> socket_ages(std::span<const pid_t> processes,
                                            const std::set<std::uint32_t>& inodes) {
  std::map<std::uint32_t, double> ages;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  for (const pid_t pid : processes) {
    const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
    const std::unique_ptr<DIR, int (*)(DIR*)> descriptors{::opendir(folder.c_str()), ::closedir};
    if (!descriptors) continue;
    const int at = ::dirfd(descriptors.get());
    while (const dirent* entry = ::readdir(descriptors.get())) {
      std::array<char, 64> target{};
      // The link first: looking at a file behind it could wait for a server that is away.
      const ssize_t length = ::readlinkat(at, entry->d_name, target.data(), target.size() - 1);
      unsigned inode = 0;
      if (length <= 0 || std::sscanf(target.data(), "socket:[%u]", &inode) != 1 ||
          !inodes.contains(inode) || ages.contains(inode))
        continue;
      struct stat status {};
      // Not a fast socket's any more: the descriptor was closed and its number taken since.
      if (::fstatat(at, entry->d_name, &status, 0) < 0 || status.st_ino != inode) continue;
      if (status.st_mtim.tv_sec != 0)
        ages[inode] = std::max(0.0, seconds(now) - seconds(status.st_mtim));
    }
  }
  return ages;
}

}  // namespace shunt
