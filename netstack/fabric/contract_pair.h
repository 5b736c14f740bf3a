// What the contract suite, and benches, run on.
#pragma once

#include <functional>
#include <memory>

#include "netstack/base/event_loop.h"
#include "netstack/fabric/fabric.h"

namespace shunt::fabric::contract {

/// Two links joined with each other, driven by the loop the maker was given (or by a loop
/// elsewhere, for a link that lives in another process). `keep` is whatever must outlive them.
struct Pair {
  std::shared_ptr<void> keep;
  std::unique_ptr<Link> dialled;
  std::unique_ptr<Link> listened;
};
/// `failed` belongs to the two links in that order.
using MakePair = std::function<Pair(EventLoop& loop, MoveFunction<void(Error)> dialled_failed,
                                    MoveFunction<void(Error)> listened_failed)>;

}  // namespace shunt::fabric::contract
