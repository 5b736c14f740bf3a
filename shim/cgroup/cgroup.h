// The control group of a container, read for Stats and Pids and watched for out-of-memory kills.
// Knows the v1 layout (a folder per controller), the unified v2 one, and v1 with an empty v2 beside
// it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/event_loop.h"

namespace shunt {

/// Controller -> path below its mount, from the text of /proc/PID/cgroup; "" is the unified
/// hierarchy.
std::map<std::string, std::string> parse_proc_cgroup(std::string_view text);

class Cgroup {
 public:
  /// Of a living process; afterwards its exit does not matter. Empty if /proc does not tell.
  static std::optional<Cgroup> of(pid_t pid);

  bool unified() const { return unified_; }
  /// The folder of a v1 controller, or of the unified hierarchy; empty if the container is not in
  /// it.
  std::string folder(std::string_view controller) const;
  bool exists() const;
  std::vector<pid_t> processes() const;

  /// A serialized io.containerd.cgroups.v1.Metrics or v2.Metrics.
  struct Metrics {
    std::string type_url;
    std::string value;
  };
  Metrics metrics() const;

 private:
  std::map<std::string, std::string> paths_;
  bool unified_ = false;
};

/// Calls back whenever the kernel kills a process of the group for lack of memory. v1: eventfd on
/// memory.oom_control; v2: growth of oom_kill in memory.events.
class OomWatch {
 public:
  OomWatch(EventLoop& loop, const Cgroup& cgroup, std::function<void()> on_oom);
  ~OomWatch();
  OomWatch(const OomWatch&) = delete;
  OomWatch& operator=(const OomWatch&) = delete;

 private:
  void watch_v1(const std::string& folder);
  void watch_v2(const std::string& folder);
  EventLoop& loop_;
  std::function<void()> on_oom_;
  UniqueFd events_;  ///< eventfd (v1) or inotify (v2)
  EventLoop::Token watch_ = 0;
  unsigned long kills_ = 0;
};

/// The number after `key` in a "key value" file such as memory.stat.
std::optional<unsigned long> stat_value(std::string_view text, std::string_view key);

}  // namespace shunt
