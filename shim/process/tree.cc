#include "shim/process/tree.h"

#include <dirent.h>
#include <signal.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
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

std::multimap<pid_t, pid_t> children_by_parent() {
  std::multimap<pid_t, pid_t> children;
  const std::unique_ptr<DIR, int (*)(DIR*)> proc{::opendir("/proc"), ::closedir};
  if (!proc) return children;
  while (const dirent* entry = ::readdir(proc.get())) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid > 0) children.emplace(parent_of(entry->d_name), pid);
  }
  return children;
}

}  // namespace

void kill_tree(pid_t root) {
  ::kill(root, SIGSTOP);
  const auto children = children_by_parent();
  std::vector<pid_t> tree{root};
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const auto [from, to] = children.equal_range(tree[i]);
    for (auto it = from; it != to; ++it) tree.push_back(it->second);
  }
  for (auto it = tree.rbegin(); it != tree.rend(); ++it) ::kill(*it, SIGKILL);
}

}  // namespace shunt
