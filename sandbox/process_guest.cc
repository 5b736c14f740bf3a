#include "sandbox/process_guest.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL  // Linux 6.9
#endif

namespace shunt::sandbox {
namespace {

/// The descriptor of a thread, whose table may be its own. Before Linux 6.9 only processes have
/// one: the group leader then, which shares its table with all but the oddest threads.
UniqueFd open_pidfd(pid_t tid) {
  UniqueFd fd{static_cast<int>(::syscall(SYS_pidfd_open, tid, PIDFD_THREAD))};
  if (fd.valid() || errno != EINVAL) return fd;
  fd = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, tid, 0))};
  if (fd.valid()) return fd;
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/status", tid);
  const UniqueFd status{::open(path.data(), O_RDONLY | O_CLOEXEC)};
  std::array<char, 2048> text{};
  const ssize_t size = ::read(status.get(), text.data(), text.size());
  if (size <= 0) return UniqueFd{};
  const std::string_view view{text.data(), static_cast<std::size_t>(size)};
  constexpr std::string_view kTgid = "\nTgid:\t";
  const auto at = view.find(kTgid);
  if (at == std::string_view::npos) return UniqueFd{};
  pid_t leader = 0;
  std::from_chars(view.data() + at + kTgid.size(), view.data() + view.size(), leader);
  return UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, leader, 0))};
}

}  // namespace

Result<UniqueFd> PidfdCache::fetch(pid_t tid, int number) {
  Entry& entry = entries_[static_cast<std::size_t>(tid) % kEntries];
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (entry.tid != tid || !entry.pidfd.valid()) entry = {tid, open_pidfd(tid)};
    if (!entry.pidfd.valid()) return last_error("pidfd_open");
    UniqueFd fd{static_cast<int>(::syscall(SYS_pidfd_getfd, entry.pidfd.get(), number, 0))};
    if (fd.valid()) return fd;
    if (errno != ESRCH) return last_error("pidfd_getfd");
    entry.pidfd.reset();
  }
  return Error{ESRCH, "pidfd_getfd"};
}

Status ProcessGuest::copy_in(std::uint64_t address, std::span<std::byte> into) {
  iovec local{into.data(), into.size()};
  iovec remote{reinterpret_cast<void*>(address), into.size()};  // NOLINT: a guest's address
  const ssize_t got = ::process_vm_readv(tid_, &local, 1, &remote, 1, 0);
  if (got != static_cast<ssize_t>(into.size())) return Error{EFAULT, "process_vm_readv"};
  return Done{};
}

Status ProcessGuest::copy_out(std::uint64_t address, std::span<const std::byte> from) {
  iovec local{const_cast<std::byte*>(from.data()), from.size()};
  iovec remote{reinterpret_cast<void*>(address), from.size()};  // NOLINT: a guest's address
  const ssize_t put = ::process_vm_writev(tid_, &local, 1, &remote, 1, 0);
  if (put != static_cast<ssize_t>(from.size())) return Error{EFAULT, "process_vm_writev"};
  return Done{};
}

Result<UniqueFd> ProcessGuest::fetch(GuestFd number) {
  return cache_.fetch(tid_, static_cast<int>(number));
}

Result<int> ProcessGuest::flags(GuestFd number) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/fdinfo/%d", tid_, static_cast<int>(number));
  const UniqueFd file{::open(path.data(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return last_error("open fdinfo");
  std::array<char, 256> text{};
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size <= 0) return Error{EIO, "read fdinfo"};
  const std::string_view view{text.data(), static_cast<std::size_t>(size)};
  constexpr std::string_view kFlags = "\nflags:\t";
  const auto at = view.find(kFlags);
  if (at == std::string_view::npos) return Error{EIO, "read fdinfo"};
  int flags = 0;
  std::from_chars(view.data() + at + kFlags.size(), view.data() + view.size(), flags, 8);
  return flags;
}

}  // namespace shunt::sandbox
