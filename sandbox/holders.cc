#include "sandbox/holders.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "netstack/base/unique_fd.h"

namespace shunt::sandbox {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return number;
}

/// N of a link to "socket:[N]" or "net:[N]". The link is not followed: what it leads to may be a
/// file whose server does not answer.
std::optional<std::uint64_t> inode_in(int directory, const char* name, std::string_view kind) {
  std::array<char, 64> text{};
  const ssize_t size = ::readlinkat(directory, name, text.data(), text.size());
  if (size <= 0) return std::nullopt;
  const std::string_view link{text.data(), static_cast<std::size_t>(size)};
  if (!link.starts_with(kind)) return std::nullopt;
  return number_in(link.substr(kind.size()));
}

struct Process {
  std::int64_t descriptors = 0;
  pid_t pid = 0;
};

std::vector<Process> processes_in(const std::set<std::uint64_t>& netns) {
  std::vector<Process> result;
  const Directory all{::opendir("/proc")};
  if (all == nullptr) return result;
  while (const dirent* entry = ::readdir(all.get())) {
    const auto pid = number_in(entry->d_name);
    if (!pid) continue;
    std::array<char, 32> path{};
    std::snprintf(path.data(), path.size(), "%s/ns/net", entry->d_name);
    const auto lives = inode_in(::dirfd(all.get()), path.data(), "net:[");
    if (!lives || !netns.contains(*lives)) continue;
    std::snprintf(path.data(), path.size(), "%s/fd", entry->d_name);
    struct stat info {};
    ::fstatat(::dirfd(all.get()), path.data(), &info, 0);  // the size is their number, Linux 6.2
    result.push_back({info.st_size, static_cast<pid_t>(*pid)});
  }
  std::sort(result.begin(), result.end(), [](const Process& a, const Process& b) {
    return std::pair{a.descriptors, a.pid} < std::pair{b.descriptors, b.pid};
  });
  return result;
}

}  // namespace

std::chrono::nanoseconds own_cpu_time() {
  timespec spent{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return std::chrono::seconds{spent.tv_sec} + std::chrono::nanoseconds{spent.tv_nsec};
}

void for_each_held(std::unordered_set<std::uint32_t> inodes, const std::set<std::uint64_t>& netns,
                   std::chrono::nanoseconds most,
                   const std::function<void(std::uint32_t, int)>& found) {
  const auto enough = own_cpu_time() + most;
  for (const Process& process : processes_in(netns)) {
    const std::string path = "/proc/" + std::to_string(process.pid) + "/fd";
    const Directory descriptors{::opendir(path.c_str())};
    if (descriptors == nullptr) continue;
    UniqueFd pidfd;
    for (unsigned count = 1; const dirent* entry = ::readdir(descriptors.get()); ++count) {
      if (count % 256 == 0 && own_cpu_time() > enough) return;
      const auto number = number_in(entry->d_name);
      if (!number) continue;
      const auto inode = inode_in(::dirfd(descriptors.get()), entry->d_name, "socket:[");
      if (!inode || !inodes.contains(static_cast<std::uint32_t>(*inode))) continue;
      if (!pidfd.valid())
        pidfd = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0))};
      const UniqueFd socket{
          static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), static_cast<int>(*number), 0))};
      struct stat info {};  // the number may mean something else by now
      if (!socket.valid() || ::fstat(socket.get(), &info) < 0 || !S_ISSOCK(info.st_mode) ||
          info.st_ino != *inode)
        continue;
      found(static_cast<std::uint32_t>(*inode), socket.get());
      inodes.erase(static_cast<std::uint32_t>(*inode));
      if (inodes.empty()) return;
    }
    if (own_cpu_time() > enough) return;
  }
}

}  // namespace shunt::sandbox
