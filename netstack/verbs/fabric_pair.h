// Two fabrics and a link between them in one process and on one loop, for tests.
#pragma once

#include <functional>
#include <memory>

#include "netstack/verbs/fabric.h"

namespace shunt::verbs {

/// One side: what the owner of a fabric keeps.
struct Party {
  std::unique_ptr<fabric::Fabric> fabric;
  std::unique_ptr<fabric::Link> link;
  fabric::Link* receives = nullptr;  ///< messages; set with `link`, and by who moves it elsewhere
  MoveFunction<void(Error)> failed;
  /// Stands in the way of messages to the other side; true: not to be delivered.
  std::function<bool(fabric::View message)> lose;
};

/// Both sides; messages between them go through the loop, as over a connection. Must outlive the
/// links.
struct FabricPair {
  FabricPair(EventLoop& loop, Calls& calls, const Options& options);
  /// Begins a link; Party::link is set at once, or the error returned.
  Status link();
  /// Destroys the link of one side.
  static void drop(Party& party) {
    party.link.reset();
    party.receives = nullptr;
  }

  EventLoop& loop;
  Party dialled;
  Party listened;

 private:
  fabric::LinkSetup setup(Party& own, Party& other, bool dialled_side);
  int attempt_ = 0;  ///< what is under way for an earlier link is not for this one
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace shunt::verbs
