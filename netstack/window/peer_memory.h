// The peer's window as this side may use it: written, never read, and told by a bell. The four
// verbs are all that a bus, a DMA engine or another machine would have to offer. Tests put a worse
// one in its place (faulty_memory.h).
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "netstack/base/unique_fd.h"
#include "netstack/window/shared_memory.h"

namespace shunt::window {

class PeerMemory {
 public:
  PeerMemory(SharedMemory memory, UniqueFd bell)
      : memory_{std::move(memory)}, bell_{std::move(bell)} {}
  virtual ~PeerMemory() = default;

  /// Where to put bytes for this place. Write-only.
  virtual std::span<std::byte> stage(std::size_t at, std::size_t size) {
    return memory_.bytes().subspan(at, size);
  }
  /// They are complete. They may become visible now or later, in any order.
  virtual void wrote(std::size_t /*at*/, std::size_t /*size*/) {}
  /// Becomes visible after everything written before. `at` is a multiple of 8.
  virtual void store(std::size_t at, std::uint64_t value) {
    word(at).store(value, std::memory_order_release);
  }
  virtual void ring() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto ignored = ::write(bell_.get(), &one, sizeof one);
  }

 protected:
  std::atomic_ref<std::uint64_t> word(std::size_t at) {
    return std::atomic_ref{*reinterpret_cast<std::uint64_t*>(memory_.bytes().data() + at)};
  }
  SharedMemory memory_;
  UniqueFd bell_;
};

}  // namespace shunt::window
