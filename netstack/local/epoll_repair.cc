#include "netstack/local/epoll_repair.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string>

#include "netstack/base/pidfd.h"
#include "netstack/base/start_thread.h"
#include "netstack/base/unique_fd.h"

namespace shunt::local {
namespace {

UniqueFd get_fd(int pidfd, int number) {
  return UniqueFd{static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, number, 0))};
}

std::string read_all(const std::string& path) {
  std::string text;
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return text;
  std::array<char, 4096> part;
  for (ssize_t got = 0; (got = ::read(file.get(), part.data(), part.size())) > 0;)
    text.append(part.data(), static_cast<std::size_t>(got));
  return text;
}

bool take_word(std::string_view& line, std::string_view key, int base, std::uint64_t& value) {
  const auto at = line.find(key);
  if (at == std::string_view::npos) return false;
  line.remove_prefix(at + key.size());
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value, base);
  return error == std::errc{};
}

// Runs on a thread of its own, with a private and nearly empty descriptor table.
Status register_here(pid_t self, pid_t tid, const std::vector<EpollEntry>& entries, int watched,
                     int socket) {
  if (::unshare(CLONE_FILES) < 0) return last_error("unshare(CLONE_FILES)");
  // The copies of the supervisor's descriptors must go at once: they would keep sockets open.
  if (::syscall(SYS_close_range, 0, ~0U, 0) < 0) return last_error("close_range");
  // Every number but `watched` is ours to use; whatever takes that one is moved out of the way.
  const auto elsewhere = [watched](UniqueFd fd) {
    if (fd.get() != watched) return fd;
    UniqueFd moved{::fcntl(fd.get(), F_DUPFD_CLOEXEC, watched + 1)};
    return moved;
  };
  const UniqueFd process = elsewhere(open_pidfd(tid));
  const UniqueFd ours = elsewhere(open_pidfd(self));
  UniqueFd fresh = elsewhere(get_fd(ours.get(), socket));
  if (!process.valid() || !fresh.valid()) return last_error("pidfd_getfd");
  if (::dup2(fresh.get(), watched) < 0) return last_error("dup2");
  fresh.reset();
  for (const EpollEntry& entry : entries) {
    const UniqueFd epoll = get_fd(process.get(), entry.epoll);
    epoll_event event{};
    event.events = entry.events;
    event.data.u64 = entry.data;
    if (!epoll.valid() || ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, watched, &event) < 0)
      return last_error("epoll_ctl");
  }
  return Done{};
}

}  // namespace

std::optional<EpollEntry> parse_epoll_line(std::string_view line, int watched) {
  std::uint64_t number = 0;
  std::uint64_t events = 0;
  EpollEntry entry;
  if (!line.starts_with("tfd:") || !take_word(line, "tfd:", 10, number) ||
      number != static_cast<std::uint64_t>(watched) || !take_word(line, "events:", 16, events) ||
      !take_word(line, "data:", 16, entry.data))
    return std::nullopt;
  entry.events = static_cast<std::uint32_t>(events);
  return entry;
}

std::vector<int> find_epolls(pid_t tid) {
  std::vector<int> result;
  const std::string directory = "/proc/" + std::to_string(tid) + "/fd";
  DIR* list = ::opendir(directory.c_str());
  if (list == nullptr) return result;
  constexpr std::string_view kEpoll = "anon_inode:[eventpoll]";
  while (const dirent* entry = ::readdir(list)) {
    std::array<char, 64> target{};
    const ssize_t size = ::readlinkat(::dirfd(list), entry->d_name, target.data(), target.size());
    if (size != static_cast<ssize_t>(kEpoll.size()) ||
        std::string_view{target.data(), kEpoll.size()} != kEpoll)
      continue;
    int number = -1;
    const std::string_view name{entry->d_name};
    std::from_chars(name.data(), name.data() + name.size(), number);
    result.push_back(number);
  }
  ::closedir(list);
  return result;
}

namespace {

// 0: instance `epoll` watches the file under number `watched`. Above: a file that had the number
// before. ENOENT: neither. EINVAL: it is no epoll instance. EBADF: no such descriptor.
long ask(pid_t tid, int epoll, int watched) {
  kcmp_epoll_slot slot{};
  slot.efd = static_cast<__u32>(epoll);
  slot.tfd = static_cast<__u32>(watched);
  const long answer = ::syscall(SYS_kcmp, tid, tid, KCMP_EPOLL_TFD, watched,
                                reinterpret_cast<unsigned long>(&slot));
  return answer >= 0 ? answer : -errno;
}

}  // namespace

std::optional<std::vector<EpollEntry>> all_registrations(pid_t tid, int watched,
                                                         std::size_t count) {
  std::vector<int> watching;
  std::size_t left = count;
  int missed = 0;
  const auto look_at = [&](int number) {
    const long answer = number == watched ? -EINVAL : ask(tid, number, watched);
    if (answer == -EBADF) {
      ++missed;
      return true;
    }
    if (left > 0) --left;
    if (answer == 0) watching.push_back(number);
    return answer >= 0 || answer == -ENOENT || answer == -EINVAL;
  };
  // Numbers are tried from 0 as long as most of them are in use, then listed.
  constexpr int kMisses = 5;
  int number = 0;
  for (; left > 0 && missed < kMisses + number / 8; ++number)
    if (!look_at(number)) return std::nullopt;
  if (left > 0) {
    const std::string directory = "/proc/" + std::to_string(tid) + "/fd";
    DIR* list = ::opendir(directory.c_str());
    if (list == nullptr) return std::nullopt;
    bool known = true;
    while (const dirent* entry = ::readdir(list)) {
      const std::string_view name{entry->d_name};
      int listed = -1;
      std::from_chars(name.data(), name.data() + name.size(), listed);
      if (listed >= number) known = look_at(listed) && known;
    }
    ::closedir(list);
    if (!known) return std::nullopt;
  }
  if (watching.empty()) return std::vector<EpollEntry>{};
  return find_registrations(tid, watching, watched);
}

std::vector<EpollEntry> find_registrations(pid_t tid, const std::vector<int>& epolls, int watched) {
  std::vector<EpollEntry> result;
  for (const int epoll : epolls) {
    if (const long answer = ask(tid, epoll, watched); answer > 0 || answer == -ENOENT) continue;
    const std::string text =
        read_all("/proc/" + std::to_string(tid) + "/fdinfo/" + std::to_string(epoll));
    std::string_view rest{text};
    while (!rest.empty()) {
      const auto end = std::min(rest.find('\n'), rest.size());
      if (auto entry = parse_epoll_line(rest.substr(0, end), watched)) {
        entry->epoll = epoll;
        result.push_back(*entry);
      }
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return result;
}

Status register_again(pid_t tid, const std::vector<EpollEntry>& entries, int watched, int socket) {
  Status result = Done{};
  const pid_t self = ::getpid();
  auto helper = start_thread([&] { result = register_here(self, tid, entries, watched, socket); });
  if (!helper) return helper.error();
  helper->join();
  return result;
}

}  // namespace shunt::local
