#include "sandbox/process_guest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "netstack/base/pidfd.h"

namespace shunt::sandbox {
namespace {

/// Where a thread cannot be named (Linux before 6.9) it is the group leader, which shares its table
/// with all but the oddest threads.
UniqueFd open_pidfd_or_leaders(pid_t tid) {
  UniqueFd fd = open_pidfd(tid);
  if (fd.valid() || (errno != EINVAL && errno != ENOENT)) return fd;
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

UniqueFd open_directory(pid_t tid, const char* name) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/%s", tid, name);
  return UniqueFd{::open(path.data(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
}

template <typename T>
bool take_number(std::string_view text, std::string_view key, int base, T& number) {
  const auto at = text.find(key);
  if (at == std::string_view::npos) return false;
  const char* first = text.data() + at + key.size();
  return std::from_chars(first, text.data() + text.size(), number, base).ec == std::errc{};
}

}  // namespace

PidfdCache::Entry& PidfdCache::entry_of(pid_t tid) {
  Entry& entry = entries_[static_cast<std::size_t>(tid) % kEntries];
  if (entry.tid != tid || !entry.pidfd.valid())
    entry = {tid, open_pidfd_or_leaders(tid), {}, {}, {}};
  return entry;
}

Result<UniqueFd> PidfdCache::fetch(pid_t tid, int number) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    Entry& entry = entry_of(tid);
    if (!entry.pidfd.valid()) return last_error("pidfd_open");
    UniqueFd fd{static_cast<int>(::syscall(SYS_pidfd_getfd, entry.pidfd.get(), number, 0))};
    if (fd.valid()) return fd;
    if (errno != ESRCH) return last_error("pidfd_getfd");
    entry.pidfd.reset();
  }
  return Error{ESRCH, "pidfd_getfd"};
}

int PidfdCache::fdinfo(pid_t tid, int number) {
  Entry& entry = entry_of(tid);
  if (entry.last.file.valid() && entry.last.number == number) return entry.last.file.get();
  if (!entry.fdinfo.valid()) entry.fdinfo = open_directory(tid, "fdinfo");
  std::array<char, 16> name{};
  std::to_chars(name.data(), name.data() + name.size() - 1, number);
  entry.last = {number, UniqueFd{::openat(entry.fdinfo.get(), name.data(), O_RDONLY | O_CLOEXEC)}};
  return entry.last.file.get();
}

int PidfdCache::fd_directory(pid_t tid) {
  Entry& entry = entry_of(tid);
  if (!entry.fd.valid()) entry.fd = open_directory(tid, "fd");
  return entry.fd.get();
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

Result<FdInfo> ProcessGuest::info(GuestFd number) {
  const int file = cache_.fdinfo(tid_, static_cast<int>(number));
  if (file < 0) return last_error("open fdinfo");
  std::array<char, 256> text;
  const ssize_t size = ::pread(file, text.data(), text.size(), 0);
  if (size <= 0) return Error{EIO, "read fdinfo"};
  const std::string_view view{text.data(), static_cast<std::size_t>(size)};
  FdInfo info;
  if (!take_number(view, "\nflags:\t", 8, info.flags)) return Error{EIO, "read fdinfo"};
  take_number(view, "\nino:\t", 10, info.inode);
  return info;
}

std::size_t ProcessGuest::descriptors() {
  struct stat directory {};
  if (::fstat(cache_.fd_directory(tid_), &directory) < 0) return 0;
  return static_cast<std::size_t>(directory.st_size);
}

}  // namespace shunt::sandbox
