#include "shim/cgroup/cgroup.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <filesystem>

#include "netstack/base/log.h"
#include "shim/cgroup/metrics.h"
#include "shim/files.h"

namespace shunt {
namespace {

constexpr std::string_view kRoot = "/sys/fs/cgroup";

std::string_view take_line(std::string_view& text) {
  const auto line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

void read_processes(const std::string& folder, std::vector<pid_t>& pids) {
  const auto text = read_file(folder + "/cgroup.procs", 4 << 20).value_or("");
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto line = take_line(rest);
    pid_t pid = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), pid).ec == std::errc{})
      pids.push_back(pid);
  }
}

}  // namespace

std::map<std::string, std::string> parse_proc_cgroup(std::string_view text) {
  std::map<std::string, std::string> paths;
  while (!text.empty()) {
    const auto line = take_line(text);  // "4:cpu,cpuacct:/path"
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    std::string_view names = line.substr(first + 1, second - first - 1);
    const std::string path{line.substr(second + 1)};
    do {
      const auto name = names.substr(0, names.find(','));
      names.remove_prefix(std::min(names.size(), name.size() + 1));
      paths.emplace(name, path);
    } while (!names.empty());
  }
  return paths;
}

std::optional<unsigned long> stat_value(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const auto line = take_line(text);
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ') continue;
    unsigned long value = 0;
    const auto digits = line.substr(key.size() + 1);
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec == std::errc{})
      return value;
  }
  return std::nullopt;
}

std::optional<Cgroup> Cgroup::of(pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/cgroup", std::size_t{64} << 10U);
  if (!text) return std::nullopt;
  Cgroup cgroup;
  cgroup.paths_ = parse_proc_cgroup(*text);
  // Pure v2 has cgroup.controllers at the mount's top; v1 and hybrid have a folder per controller
  // there.
  cgroup.unified_ = ::access((std::string{kRoot} + "/cgroup.controllers").c_str(), F_OK) == 0;
  return cgroup;
}

std::string Cgroup::folder(std::string_view controller) const {
  if (unified_) {
    const auto it = paths_.find("");
    return it == paths_.end() ? "" : std::string{kRoot} + it->second;
  }
  const auto it = paths_.find(std::string{controller});
  return it == paths_.end() ? "" : std::string{kRoot} + "/" + std::string{controller} + it->second;
}

bool Cgroup::exists() const {
  for (const std::string_view controller : {"pids", "memory", "cpu", "devices", "freezer"}) {
    const std::string at = folder(controller);
    if (!at.empty()) return ::access(at.c_str(), F_OK) == 0;
  }
  return false;
}

std::vector<pid_t> Cgroup::processes() const {
  std::vector<pid_t> pids;
  for (const std::string_view controller : {"devices", "pids", "memory", "cpu", "freezer"}) {
    const std::string at = folder(controller);
    if (at.empty()) continue;
    read_processes(at, pids);
    // A container may have groups of its own below (systemd, a nested runtime).
    std::error_code ignored;
    for (const auto& entry : std::filesystem::recursive_directory_iterator{at, ignored})
      if (entry.is_directory(ignored)) read_processes(entry.path(), pids);
    return pids;
  }
  return pids;
}

Cgroup::Metrics Cgroup::metrics() const {
  return unified_
             ? Metrics{"io.containerd.cgroups.v2.Metrics", metrics_v2(folder(""))}
             : Metrics{
                   "io.containerd.cgroups.v1.Metrics",
                   metrics_v1([this](std::string_view controller) { return folder(controller); })};
}

OomWatch::OomWatch(EventLoop& loop, const Cgroup& cgroup, std::function<void()> on_oom)
    : loop_{loop}, on_oom_{std::move(on_oom)} {
  const std::string folder = cgroup.folder("memory");
  if (folder.empty()) return;
  if (cgroup.unified()) {
    watch_v2(folder);
  } else {
    watch_v1(folder);
  }
  if (watch_ == 0)
    log::warn("shim", "cannot watch {} for out-of-memory kills: {}", folder,
              describe(last_error("watch")));
}

OomWatch::~OomWatch() { loop_.forget(watch_); }

void OomWatch::watch_v1(const std::string& folder) {
  events_ = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  const UniqueFd source{::open((folder + "/memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC)};
  const UniqueFd control{::open((folder + "/cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC)};
  if (!events_.valid() || !source.valid() || !control.valid()) return;
  const std::string line = std::to_string(events_.get()) + " " + std::to_string(source.get());
  if (!write_all(control.get(), line)) return;
  const auto token = loop_.watch(events_.get(), EPOLLIN, [this, folder](std::uint32_t) {
    std::uint64_t count = 0;
    if (::read(events_.get(), &count, sizeof count) != sizeof count) return;
    // Removing the group signals the eventfd too (cgroup-v1/memory.txt, section 9).
    if (::access((folder + "/cgroup.event_control").c_str(), F_OK) < 0)
      return loop_.forget(std::exchange(watch_, 0));
    on_oom_();
  });
  if (token) watch_ = *token;
}

void OomWatch::watch_v2(const std::string& folder) {
  const std::string file = folder + "/memory.events";
  kills_ = stat_value(read_file(file, 4096).value_or(""), "oom_kill").value_or(0);
  events_ = UniqueFd{::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
  if (!events_.valid() || ::inotify_add_watch(events_.get(), file.c_str(), IN_MODIFY) < 0) return;
  const auto token = loop_.watch(events_.get(), EPOLLIN, [this, file](std::uint32_t) {
    std::array<char, 4096> drained;  // NOLINT: filled by read
    while (::read(events_.get(), drained.data(), drained.size()) > 0) {
    }
    const auto kills = stat_value(read_file(file, 4096).value_or(""), "oom_kill").value_or(0);
    if (kills > std::exchange(kills_, kills)) on_oom_();
  });
  if (token) watch_ = *token;
}

}  // namespace shunt
