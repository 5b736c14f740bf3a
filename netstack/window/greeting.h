// What two window fabrics tell each other before they share memory: in HELLO, and as the one
// message of each at the rendezvous. Pure; from the other side, so checked.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "netstack/fabric/fabric.h"
#include "netstack/window/window_mover.h"

namespace shunt::window {

/// Names a fabric object (one per shim); also its socket in the directory.
using Instance = std::array<std::byte, 8>;
std::string socket_name(const Instance& instance);

/// In HELLO.
struct Advert {
  std::array<std::byte, 16> host{};     ///< the boot id: window is for one kernel
  std::uint64_t device = 0, inode = 0;  ///< of the directory
  Instance instance{};
  Nonce secret{};  ///< who shows it to us has had our HELLO
};
fabric::Bytes encode(const Advert& advert);
Result<Advert> decode_advert(fabric::View bytes);

/// At the rendezvous, with two descriptors: the sender's window and its bell.
struct Greeting {
  Instance from{};
  Nonce secret{};  ///< of the one spoken to
  Nonce nonce{};   ///< comes over the control connection too
  std::uint32_t region = 0;
  std::uint32_t epoch = 0;
};
fabric::Bytes encode(const Greeting& greeting);
Result<Greeting> decode_greeting(fabric::View bytes);

}  // namespace shunt::window
