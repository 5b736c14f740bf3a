#include "sandbox/host_rights.h"

#include <linux/capability.h>
#include <sys/stat.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "sandbox/call.h"

namespace shunt::sandbox {

bool may_reconfigure_node(pid_t process) {
  const std::string directory = "/proc/" + std::to_string(process);
  struct stat ours {};
  struct stat theirs {};
  if (::stat("/proc/self/ns/user", &ours) < 0 ||
      ::stat((directory + "/ns/user").c_str(), &theirs) < 0)
    return true;
  // What it may do in a namespace of its own does not reach the node's.
  if (ours.st_ino != theirs.st_ino) return false;
  std::ifstream file{directory + "/status"};
  std::string line;
  std::uint64_t all = 0;
  bool bounded = false;
  while (std::getline(file, line)) {
    // A program with set-user-ID or file capabilities gets what the bounding set allows.
    if (!line.starts_with("CapBnd:") && !line.starts_with("CapPrm:")) continue;
    bounded = bounded || line.starts_with("CapBnd:");
    std::uint64_t set = 0;
    std::istringstream{line.substr(line.find(':') + 1)} >> std::hex >> set;
    all |= set;
  }
  return !bounded || (all >> CAP_NET_ADMIN & 1U) != 0;
}

bool Container::may_reconfigure_node(pid_t tid) {
  const Rights known = rights_.load(std::memory_order_relaxed);
  if (known != Rights::kUnknown) return known == Rights::kSome;
  const bool may = sandbox::may_reconfigure_node(tid);
  rights_.store(may ? Rights::kSome : Rights::kNone, std::memory_order_relaxed);
  return may;
}

}  // namespace shunt::sandbox
