// Objects of libibverbs, destroyed exactly once and counted in Calls::live. Members of a class must
// be declared in the order in which verbs wants them made (device, domain, channel, queues, pairs):
// they are then destroyed in the only order that works.
#pragma once

#include <utility>

#include "netstack/verbs/calls.h"

namespace shunt::verbs {

template <typename T, int (Calls::*kDestroy)(T*)>
class Owned {
 public:
  Owned() noexcept = default;
  Owned(Calls& calls, T* object) noexcept : calls_{&calls}, object_{object} {
    if (object_ != nullptr) ++calls_->live;
  }
  Owned(Owned&& other) noexcept
      : calls_{other.calls_}, object_{std::exchange(other.object_, nullptr)} {}
  Owned& operator=(Owned other) noexcept {
    std::swap(calls_, other.calls_);
    std::swap(object_, other.object_);
    return *this;
  }
  ~Owned() {
    // A failure (EBUSY: something still refers to it) stays visible in `live`.
    if (object_ != nullptr && (calls_->*kDestroy)(object_) == 0) --calls_->live;
  }

  T* get() const noexcept { return object_; }
  T* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  Calls* calls_ = nullptr;
  T* object_ = nullptr;
};

using OwnedContext = Owned<ibv_context, &Calls::close_device>;
using OwnedDomain = Owned<ibv_pd, &Calls::dealloc_pd>;
using OwnedMemory = Owned<ibv_mr, &Calls::dereg_mr>;
using OwnedChannel = Owned<ibv_comp_channel, &Calls::destroy_comp_channel>;
using OwnedCompletions = Owned<ibv_cq, &Calls::destroy_cq>;
using OwnedReceives = Owned<ibv_srq, &Calls::destroy_srq>;
using OwnedPair = Owned<ibv_qp, &Calls::destroy_qp>;

}  // namespace shunt::verbs
