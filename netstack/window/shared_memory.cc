#include "netstack/window/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <utility>

namespace shunt::window {
namespace {
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept { *this = std::move(other); }

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(start_, other.start_);
  std::swap(size_, other.size_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (start_ != nullptr) ::munmap(start_, size_);
}

Result<SharedMemory> SharedMemory::make(std::size_t size) {
  UniqueFd fd{::memfd_create("shunt-window", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!fd.valid()) return last_error("memfd_create");
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) < 0) return last_error("ftruncate");
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) < 0) return last_error("fcntl(F_ADD_SEALS)");
  return map(std::move(fd), size);
}

Result<SharedMemory> SharedMemory::map(UniqueFd fd, std::size_t size) {
  struct stat status {};
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);  // fails for anything but a memfd
  if (seals < 0 || (seals & kSeals) != kSeals ||
      (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0)
    return Error{EPROTO, "window memory"};
  if (::fstat(fd.get(), &status) < 0) return last_error("fstat");
  if (status.st_size != static_cast<off_t>(size)) return Error{EPROTO, "window memory"};
  void* start =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd.get(), 0);
  if (start == MAP_FAILED) return last_error("mmap");
  SharedMemory memory;
  memory.fd_ = std::move(fd);
  memory.start_ = static_cast<std::byte*>(start);
  memory.size_ = size;
  return memory;
}

void SharedMemory::discard(std::size_t at, std::size_t size) const {
  ::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
              static_cast<off_t>(size));
}

}  // namespace shunt::window
