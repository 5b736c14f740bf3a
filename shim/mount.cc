#include "shim/mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "netstack/base/unique_fd.h"
#include "shim/files.h"

namespace shunt {
namespace {

struct Flag {
  std::string_view name;
  bool clear;
  unsigned long bits;
};

constexpr std::array kFlags{
    Flag{"async", true, MS_SYNCHRONOUS},
    Flag{"atime", true, MS_NOATIME},
    Flag{"bind", false, MS_BIND},
    Flag{"defaults", false, 0},
    Flag{"dev", true, MS_NODEV},
    Flag{"diratime", true, MS_NODIRATIME},
    Flag{"dirsync", false, MS_DIRSYNC},
    Flag{"exec", true, MS_NOEXEC},
    Flag{"mand", false, MS_MANDLOCK},
    Flag{"noatime", false, MS_NOATIME},
    Flag{"nodev", false, MS_NODEV},
    Flag{"nodiratime", false, MS_NODIRATIME},
    Flag{"noexec", false, MS_NOEXEC},
    Flag{"nomand", true, MS_MANDLOCK},
    Flag{"norelatime", true, MS_RELATIME},
    Flag{"nostrictatime", true, MS_STRICTATIME},
    Flag{"nosuid", false, MS_NOSUID},
    Flag{"rbind", false, MS_BIND | MS_REC},
    Flag{"relatime", false, MS_RELATIME},
    Flag{"remount", false, MS_REMOUNT},
    Flag{"ro", false, MS_RDONLY},
    Flag{"rw", true, MS_RDONLY},
    Flag{"strictatime", false, MS_STRICTATIME},
    Flag{"suid", true, MS_NOSUID},
    Flag{"sync", false, MS_SYNCHRONOUS},
};

constexpr std::array kPropagation{
    Flag{"private", false, MS_PRIVATE},       Flag{"rprivate", false, MS_PRIVATE | MS_REC},
    Flag{"shared", false, MS_SHARED},         Flag{"rshared", false, MS_SHARED | MS_REC},
    Flag{"slave", false, MS_SLAVE},           Flag{"rslave", false, MS_SLAVE | MS_REC},
    Flag{"unbindable", false, MS_UNBINDABLE}, Flag{"runbindable", false, MS_UNBINDABLE | MS_REC},
};

const Flag* find(const auto& table, std::string_view name) {
  const auto it =
      std::find_if(table.begin(), table.end(), [&](const Flag& flag) { return flag.name == name; });
  return it == table.end() ? nullptr : &*it;
}

// mount(2) takes at most one page of data. containerd's overlay mounts of many-layered images
// exceed it; their layers share a folder, so they fit when named from there. A child does it: the
// working directory belongs to the whole process.
Status mount_from_folder(const MountSpec& spec, const MountArguments& arguments,
                         const std::string& target) {
  constexpr std::string_view kKey = "lowerdir=";
  const auto at = arguments.data.find(kKey);
  if (at == std::string::npos) return Error{E2BIG, "mount"};
  const auto end = std::min(arguments.data.find(',', at), arguments.data.size());
  const std::string layers = arguments.data.substr(at + kKey.size(), end - at - kKey.size());
  std::string folder = layers.substr(0, layers.find(':'));
  std::vector<std::string> names;
  for (std::size_t from = 0; from <= layers.size();) {
    const auto to = std::min(layers.find(':', from), layers.size());
    names.push_back(layers.substr(from, to - from));
    while (!names.back().starts_with(folder)) folder.pop_back();
    from = to + 1;
  }
  folder = folder.substr(0, folder.rfind('/') + 1);
  if (folder.size() < 2) return Error{E2BIG, "mount"};
  std::string shorter = arguments.data.substr(0, at + kKey.size());
  for (const auto& name : names)
    shorter += name.substr(folder.size()) + (&name == &names.back() ? "" : ":");
  shorter += arguments.data.substr(end);
  if (shorter.size() >= static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)))
    return Error{E2BIG, "mount"};

  const pid_t child = ::fork();
  if (child < 0) return last_error("fork");
  if (child == 0) {
    if (::chdir(folder.c_str()) < 0) ::_exit(errno);
    const int rc = ::mount(spec.source.c_str(), target.c_str(), spec.type.c_str(), arguments.flags,
                           shorter.c_str());
    ::_exit(rc < 0 ? errno : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status)) return Error{EIO, "mount"};
  if (WEXITSTATUS(status) != 0) return Error{WEXITSTATUS(status), "mount"};
  return Done{};
}

Status mount_one(const MountSpec& spec, const std::string& target) {
  const MountArguments arguments = parse_mount_options(spec.options);
  if (arguments.data.size() >= static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))) {
    if (const Status mounted = mount_from_folder(spec, arguments, target); !mounted) return mounted;
  } else if (::mount(spec.source.c_str(), target.c_str(), spec.type.c_str(), arguments.flags,
                     arguments.data.c_str()) < 0) {
    return last_error("mount");
  }
  if (arguments.propagation != 0 && ::mount("", target.c_str(), "", arguments.propagation, "") < 0)
    return last_error("mount (propagation)");
  // A bind mount takes its other flags only from a remount (mount(2)).
  constexpr unsigned long kBindOnly = MS_BIND | MS_REC;
  if ((arguments.flags & MS_BIND) != 0 && (arguments.flags & ~kBindOnly) != 0 &&
      ::mount("", target.c_str(), "",
              (arguments.flags & ~static_cast<unsigned long>(MS_REC)) | MS_REMOUNT, "") < 0)
    return last_error("mount (remount)");
  return Done{};
}

}  // namespace

MountArguments parse_mount_options(const std::vector<std::string>& options) {
  MountArguments arguments;
  for (const auto& option : options) {
    if (const Flag* flag = find(kFlags, option)) {
      arguments.flags = flag->clear ? arguments.flags & ~flag->bits : arguments.flags | flag->bits;
    } else if (const Flag* way = find(kPropagation, option)) {
      arguments.propagation |= way->bits;
    } else {
      arguments.data += (arguments.data.empty() ? "" : ",") + option;
    }
  }
  return arguments;
}

Result<Done, std::string> mount_all(const std::vector<MountSpec>& mounts,
                                    const std::string& rootfs) {
  if (mounts.empty()) return Done{};
  if (const Status made = make_directories(rootfs, 0711); !made)
    return "cannot make " + rootfs + ": " + describe(made.error());
  for (const auto& spec : mounts) {
    const std::string target = spec.target.empty() ? rootfs : rootfs + "/" + spec.target;
    if (const Status mounted = mount_one(spec, target); !mounted) {
      static_cast<void>(unmount_all(rootfs, true));
      return "failed to mount rootfs component (type " + spec.type + ", source " + spec.source +
             "): " + describe(mounted.error());
    }
  }
  return Done{};
}

Status unmount_all(const std::string& target, bool detach) {
  while (::umount2(target.c_str(), (detach ? MNT_DETACH : 0) | UMOUNT_NOFOLLOW) == 0) {
  }
  // EINVAL: nothing is mounted there any more.
  if (errno == EINVAL || errno == ENOENT) return Done{};
  return last_error("umount2");
}

}  // namespace shunt
