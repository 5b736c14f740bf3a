// A Guest that is a real thread. Lives on the stack of whoever answers the call.
#pragma once

#include <array>

#include "sandbox/guest.h"
#include "sandbox/notify.h"

namespace shunt::sandbox {

/// Descriptors of threads (pidfd, and their directories below /proc), the most recent ones of one
/// answering thread. A thread that is gone shows itself by ESRCH, and a number cannot be reused
/// while its old owner lives; so a cached one is never somebody else.
class PidfdCache {
 public:
  Result<UniqueFd> fetch(pid_t tid, int number);
  /// /proc/TID/fdinfo/NUMBER, open: read from its beginning it tells about whatever has that number
  /// now. -1 if there is none. Valid until the next call.
  int fdinfo(pid_t tid, int number);
  /// /proc/TID/fd (O_PATH); -1 if there is none. Valid until the next call with another thread.
  int fd_directory(pid_t tid);

 private:
  /// Many programs connect under one number again and again.
  struct FdInfoFile {
    int number = -1;
    UniqueFd file;
  };
  struct Entry {
    pid_t tid = 0;
    UniqueFd pidfd;
    UniqueFd fdinfo;  ///< the directory
    UniqueFd fd;
    FdInfoFile last;
  };
  Entry& entry_of(pid_t tid);
  static constexpr std::size_t kEntries = 16;
  std::array<Entry, kEntries> entries_;
};

class ProcessGuest final : public Guest {
 public:
  ProcessGuest(pid_t tid, std::uint64_t id, const NotifyFd& notify, PidfdCache& cache)
      : tid_{tid}, id_{id}, notify_{notify}, cache_{cache} {}

  Status copy_in(std::uint64_t address, std::span<std::byte> into) override;
  Status copy_out(std::uint64_t address, std::span<const std::byte> from) override;
  Result<UniqueFd> fetch(GuestFd number) override;
  Result<FdInfo> info(GuestFd number) override;
  std::size_t descriptors() override;
  bool waiting() override { return notify_.waiting(id_); }
  pid_t tid() const override { return tid_; }

 private:
  pid_t tid_;
  std::uint64_t id_;
  const NotifyFd& notify_;
  PidfdCache& cache_;
};

}  // namespace shunt::sandbox
