// Root filesystem mounts that containerd hands to Create, and their removal.
#pragma once

#include <string>
#include <vector>

#include "netstack/base/result.h"

namespace shunt {

struct MountSpec {
  std::string type, source, target;  ///< target: below the rootfs, usually empty
  std::vector<std::string> options;  ///< as in fstab(5)
};

/// What mount(2) takes for a list of options.
struct MountArguments {
  unsigned long flags = 0;
  unsigned long propagation = 0;  ///< needs a mount(2) call of its own
  std::string data;
};
MountArguments parse_mount_options(const std::vector<std::string>& options);

/// Mounts in order onto `rootfs` (made if missing); on failure nothing of it stays mounted. The
/// error is a sentence.
Result<Done, std::string> mount_all(const std::vector<MountSpec>& mounts,
                                    const std::string& rootfs);
/// Until nothing is mounted there. A missing directory is fine. Error: EBUSY while somebody is
/// inside.
Status unmount_all(const std::string& target, bool detach);

}  // namespace shunt
