#include "sandbox/cluster_key.h"

#include <sys/stat.h>

#include <fstream>
#include <iterator>

namespace shunt::sandbox {

Result<ClusterKey, std::string> read_cluster_key(const std::string& path) {
  if (path.empty()) return ClusterKey{};
  struct stat info {};
  if (::stat(path.c_str(), &info) < 0) return path + ": " + describe(last_error("stat"));
  constexpr off_t kMost = 4096;
  constexpr mode_t kOthers = S_IRWXG | S_IRWXO;
  if (!S_ISREG(info.st_mode)) return path + " is no regular file";  // a fifo would be waited for
  if ((info.st_mode & kOthers) != 0) return path + " must be for its owner only (mode 0600)";
  if (info.st_size > kMost) return path + " is too long for a key";
  std::ifstream file{path, std::ios::binary};
  ClusterKey key{{std::istreambuf_iterator<char>{file}, {}}};
  while (!key.bytes.empty() && (key.bytes.back() == '\n' || key.bytes.back() == '\r'))
    key.bytes.pop_back();
  constexpr std::size_t kLeast = 16;
  if (key.bytes.size() < kLeast) return path + " must hold a key of at least 16 bytes";
  return key;
}

}  // namespace shunt::sandbox
