// The process behind a trapped call: its memory and its descriptors.
//
// Three things look like numbers and must not mix: our descriptors (UniqueFd, int), the guest's
// (GuestFd: nothing here closes one) and guest addresses (never dereferenced, only copied from and
// to). A pid may be reused between the trap and the look: copy first, then ask waiting(), then
// judge the copy. Another guest thread may rewrite the original at any time.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::sandbox {

enum class GuestFd : int {};

template <typename T>
struct GuestPtr {
  std::uint64_t address = 0;
  explicit operator bool() const { return address != 0; }
};

/// What /proc/PID/fdinfo says about a descriptor.
struct FdInfo {
  int flags = 0;            ///< O_CLOEXEC of the descriptor, and the flags of its file
  std::uint64_t inode = 0;  ///< 0: not told (before Linux 5.14)
};

class Guest {
 public:
  virtual ~Guest() = default;

  /// EFAULT unless every byte was copied. Honours page protection.
  virtual Status copy_in(std::uint64_t address, std::span<std::byte> into) = 0;
  virtual Status copy_out(std::uint64_t address, std::span<const std::byte> from) = 0;

  /// A duplicate of the guest's descriptor (EBADF). Close it soon: it keeps the file open.
  virtual Result<UniqueFd> fetch(GuestFd number) = 0;
  virtual Result<FdInfo> info(GuestFd number) = 0;
  /// How many descriptors the thread's table holds; 0: the kernel does not tell (before Linux 6.2).
  virtual std::size_t descriptors() = 0;

  /// Whether the thread still waits for our answer.
  virtual bool waiting() = 0;
  virtual pid_t tid() const = 0;

  template <typename T>
  Result<T> read(GuestPtr<T> from) {
    static_assert(std::is_trivially_copyable_v<T>);
    T copy{};
    if (Status done = copy_in(from.address, std::as_writable_bytes(std::span{&copy, 1})); !done)
      return done.error();
    return copy;
  }
  template <typename T>
  Status write(GuestPtr<T> to, const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return copy_out(to.address, std::as_bytes(std::span{&value, 1}));
  }
};

}  // namespace shunt::sandbox
