#include "sandbox/holders.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
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
#include <string>
#include <string_view>
#include <utility>

#include "netstack/base/pidfd.h"
#include "netstack/base/proc_link.h"
#include "netstack/base/unique_fd.h"

namespace shunt::sandbox {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

Directory open_directory(const std::string& path) { return Directory{::opendir(path.c_str())}; }

std::string proc(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return number;
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> result;
  const Directory all = open_directory(proc(pid, "task"));
  while (const dirent* entry = all == nullptr ? nullptr : ::readdir(all.get()))
    if (const auto tid = number_in(entry->d_name)) result.push_back(static_cast<pid_t>(*tid));
  return result;
}

/// Of a process whose first thread has ended the others still tell.
std::optional<std::uint64_t> netns_of_threads(pid_t pid) {
  for (const pid_t tid : threads_of(pid)) {
    if (tid == pid) continue;
    if (const auto netns = inode_of_link(AT_FDCWD, proc(tid, "ns/net").c_str(), "net"))
      return netns;
  }
  return std::nullopt;
}

bool share_a_table(pid_t one, pid_t other) {
  return ::syscall(SYS_kcmp, one, other, KCMP_FILES, 0, 0) == 0;
}

class Search {
 public:
  Search(Holders::Inodes& inodes, std::chrono::nanoseconds enough, const Holders::Found& found)
      : inodes_{inodes}, enough_{enough}, found_{found} {}

  bool over() const { return inodes_.empty() || own_cpu_time() > enough_; }

  /// Looks at the descriptors of one thread.
  void table_of(pid_t tid) {
    const Directory descriptors = open_directory(proc(tid, "fd"));
    if (descriptors == nullptr) return;
    UniqueFd pidfd;
    for (unsigned count = 1; const dirent* entry = ::readdir(descriptors.get()); ++count) {
      if (count % 256 == 0 && over()) return;
      const auto number = number_in(entry->d_name);
      if (!number) continue;
      const auto inode = inode_of_link(::dirfd(descriptors.get()), entry->d_name, "socket");
      if (!inode || !inodes_.contains(static_cast<std::uint32_t>(*inode))) continue;
      if (!pidfd.valid()) pidfd = open_pidfd(tid);
      const UniqueFd socket{
          static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), static_cast<int>(*number), 0))};
      struct stat info {};  // the number may mean something else by now
      if (!socket.valid() || ::fstat(socket.get(), &info) < 0 || !S_ISSOCK(info.st_mode) ||
          info.st_ino != *inode || !found_(static_cast<std::uint32_t>(*inode), socket.get()))
        continue;
      inodes_.erase(static_cast<std::uint32_t>(*inode));
      if (inodes_.empty()) return;
    }
  }

  /// Looks at the tables of its threads, if they are others than the first one's.
  void other_tables_of(pid_t pid) {
    struct stat info {};
    constexpr nlink_t kOneThread = 3;
    if (::stat(proc(pid, "task").c_str(), &info) < 0 || info.st_nlink <= kOneThread) return;
    pid_t last = pid;
    for (const pid_t tid : threads_of(pid)) {
      if (over()) return;
      if (tid == pid || share_a_table(pid, tid) || share_a_table(last, tid)) continue;
      table_of(tid);
      last = tid;
    }
  }

 private:
  Holders::Inodes& inodes_;
  const std::chrono::nanoseconds enough_;
  const Holders::Found& found_;
};

}  // namespace

std::chrono::nanoseconds own_cpu_time() {
  timespec spent{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return std::chrono::seconds{spent.tv_sec} + std::chrono::nanoseconds{spent.tv_nsec};
}

Holders::Holders() {
  const Directory all = open_directory("/proc");
  while (const dirent* entry = all == nullptr ? nullptr : ::readdir(all.get())) {
    const auto number = number_in(entry->d_name);
    if (!number) continue;
    const auto pid = static_cast<pid_t>(*number);
    std::array<char, 32> path{};
    std::snprintf(path.data(), path.size(), "%d/ns/net", pid);
    auto netns = inode_of_link(::dirfd(all.get()), path.data(), "net");
    if (!netns) netns = netns_of_threads(pid);
    if (netns) processes_.push_back({*netns, -1, pid});
  }
}

std::int64_t Holders::count(Process& process) {
  if (process.descriptors >= 0) return process.descriptors;
  struct stat info {};
  if (::stat(proc(process.pid, "fd").c_str(), &info) < 0) info.st_size = 0;
  return process.descriptors = info.st_size;
}

std::int64_t Holders::descriptors_in(std::uint64_t netns) {
  std::int64_t sum = 0;
  for (Process& process : processes_)
    if (process.netns == netns) sum += count(process);
  return sum;
}

std::vector<Holders::Process> Holders::processes(const std::set<std::uint64_t>& netns,
                                                 bool inside) {
  std::vector<Process> result;
  for (Process& process : processes_) {
    if (netns.contains(process.netns) != inside) continue;
    count(process);
    result.push_back(process);
  }
  std::sort(result.begin(), result.end(), [](const Process& a, const Process& b) {
    return std::pair{a.descriptors, a.pid} < std::pair{b.descriptors, b.pid};
  });
  return result;
}

void Holders::find(std::uint64_t netns, Inodes& inodes, std::chrono::nanoseconds enough,
                   const Found& found) {
  Search search{inodes, enough, found};
  for (const Process& process : processes({netns}, true)) {
    if (search.over()) return;
    search.table_of(process.pid);
  }
}

void Holders::find_in(pid_t tid, Inodes& inodes, std::chrono::nanoseconds enough,
                      const Found& found) {
  Search{inodes, enough, found}.table_of(tid);
}

void Holders::find_elsewhere(const std::set<std::uint64_t>& netns, Inodes& inodes,
                             std::chrono::nanoseconds enough, const Found& found) {
  Search search{inodes, enough, found};
  for (const bool inside : {true, false}) {
    const auto some = processes(netns, inside);
    for (const Process& process : some) {
      if (search.over()) return;
      if (!inside) search.table_of(process.pid);
    }
    for (const Process& process : some) {
      if (search.over()) return;
      search.other_tables_of(process.pid);
    }
  }
}

}  // namespace shunt::sandbox
