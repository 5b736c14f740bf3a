#include "netstack/verbs/memory.h"

#include <sys/mman.h>

namespace shunt::verbs {

Memory::~Memory() {
  for (std::size_t offset = 0; offset < size_; offset += slab_) remove(offset);
  if (base_ != nullptr) ::munmap(base_, size_);
}

Status Memory::reserve(ibv_pd* domain, std::size_t size, std::size_t slab) {
  void* const mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return last_error("mmap");
  domain_ = domain;
  base_ = static_cast<std::byte*>(mapped);
  size_ = size;
  slab_ = slab;
  slabs_.resize(size / slab);
  return Done{};
}

Status Memory::add(std::size_t offset) {
  if (budget_.left < slab_) return Error{ENOBUFS, "memory limit of verbs"};
  ibv_mr* const region = use_ == Use::kPeerWrites
                             ? calls_.reg_mr_iova(domain_, base_ + offset, slab_, offset,
                                                  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE)
                             : calls_.reg_mr(domain_, base_ + offset, slab_, 0);
  if (region == nullptr) return last_error("ibv_reg_mr");
  slabs_[offset / slab_] = OwnedMemory{calls_, region};
  budget_.left -= slab_;
  return Done{};
}

void Memory::remove(std::size_t offset) {
  OwnedMemory& slab = slabs_[offset / slab_];
  if (!slab) return;
  slab = {};
  budget_.left += slab_;
  ::madvise(base_ + offset, slab_, MADV_REMOVE);
}

}  // namespace shunt::verbs
