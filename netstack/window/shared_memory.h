// A piece of memory that two processes map. Sealed against changes of its size: a peer that could
// cut it off would kill us with SIGBUS.
#pragma once

#include <cstddef>
#include <span>

#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"

namespace shunt::window {

class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  static Result<SharedMemory> make(std::size_t size);
  /// Somebody else's. EPROTO: not memory, of another size, or not sealed.
  static Result<SharedMemory> map(UniqueFd fd, std::size_t size);

  std::span<std::byte> bytes() const { return {start_, size_}; }
  int fd() const { return fd_.get(); }
  /// Gives pages back to the system; they read as zeros.
  void discard(std::size_t at, std::size_t size) const;

 private:
  UniqueFd fd_;
  std::byte* start_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace shunt::window
