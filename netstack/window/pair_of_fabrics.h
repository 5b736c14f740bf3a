// For tests: two window fabrics made into two joined links, both in this process or the listening
// one in a child. A directory of their own, removed at the end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "netstack/fabric/contract_pair.h"
#include "netstack/window/window_fabric.h"

namespace shunt::window {

struct Directory {
  Directory();
  ~Directory();
  std::string path;
};

using Change = std::function<void(Options&)>;

/// Both on `loop`.
fabric::contract::Pair join_here(EventLoop& loop, MoveFunction<void(Error)> dialled_failed,
                                 MoveFunction<void(Error)> listened_failed,
                                 const Change& change = {});

/// The listening link and its loop live in a child process, which a proxy stands for here; the
/// proxy's destructor kills it.
fabric::contract::Pair join_child(EventLoop& loop, MoveFunction<void(Error)> dialled_failed,
                                  MoveFunction<void(Error)> listened_failed,
                                  const Change& change = {});
/// Of the proxy that join_child() made.
int child_pid(const fabric::Link& proxy);

}  // namespace shunt::window
