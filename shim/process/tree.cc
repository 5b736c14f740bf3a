#include "shim/process/tree.h"

#include <dirent.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "shim/files.h"

namespace shunt {
namespace {

// The parent of a process: the fourth field of /proc/PID/stat, after the name in parentheses, which
// may itself contain parentheses and blanks.
pid_t parent_of(const std::string& pid) {
  const auto stat = read_file("/proc/" + pid + "/stat", 4096).value_or("");
  const auto name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 4 >= stat.size()) return 0;
  return static_cast<pid_t>(std::strtol(stat.c_str() + name_end + 4, nullptr, 10));
}

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

std::multimap<pid_t, pid_t> children_by_parent() {
  std::multimap<pid_t, pid_t> children;
  const Directory proc{::opendir("/proc"), ::closedir};
  if (!proc) return children;
  while (const dirent* entry = ::readdir(proc.get())) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid > 0) children.emplace(parent_of(entry->d_name), pid);
  }
  return children;
}

std::vector<pid_t> descendants_of(pid_t root) {
  const auto children = children_by_parent();
  std::vector<pid_t> tree{root};
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto [from, to] = children.equal_range(tree[i]);
    for (auto it = from; it != to; ++it) tree.push_back(it->second);
  }
  return tree;
}

/// Whether no thread of it runs or sleeps any more: stopped, traced, or dead.
bool stands_still(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/task";
  const Directory tasks{::opendir(path.c_str()), ::closedir};
  if (!tasks) return true;
  while (const dirent* entry = ::readdir(tasks.get())) {
    if (entry->d_name[0] == '.') continue;
    const auto stat = read_file(path + "/" + entry->d_name + "/stat", 4096).value_or("");
    const auto name_end = stat.rfind(')');
    if (name_end == std::string::npos || name_end + 2 >= stat.size()) continue;
    if (std::string_view{"TtZX"}.find(stat[name_end + 2]) == std::string_view::npos) return false;
  }
  return true;
}

// A thread that waits for a disk or a dead server does not stop: it is killed as it is.
constexpr int kLooks = 100;
constexpr std::chrono::milliseconds kBetweenLooks{1};

}  // namespace

void kill_tree(pid_t root) {
  std::set<pid_t> stopped;
  std::vector<pid_t> tree;
  bool settled = false;
  for (int look = 0; look < kLooks && !settled; ++look) {
    if (look > 0) std::this_thread::sleep_for(kBetweenLooks);
    // A process goes on until one of its threads takes the signal, and may fork meanwhile: those
    // that stood still before the list was made have no children that are not in it.
    settled = std::all_of(tree.begin(), tree.end(), stands_still);
    tree = descendants_of(root);
    for (const pid_t pid : tree) {
      if (!stopped.insert(pid).second) continue;
      ::kill(pid, SIGSTOP);
      settled = false;
    }
  }
  for (auto it = tree.rbegin(); it != tree.rend(); ++it) ::kill(*it, SIGKILL);
}

}  // namespace shunt
