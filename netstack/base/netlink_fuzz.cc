// What the kernel answers over netlink, and what is made of it: never past the end, whatever the
// lengths say.
#include <cstdlib>

#include "netstack/base/netlink.h"
#include "netstack/local/conntrack.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span{data, size});
  std::size_t seen = 0;
  const auto each = [&](std::uint16_t, std::span<const std::byte> payload) {
    seen += payload.size();
    static_cast<void>(shunt::local::decode_conntrack_reply(payload));
  };
  static_cast<void>(shunt::for_each_reply(bytes, 0, /*many=*/true, each));
  if (seen > size) std::abort();
  static_cast<void>(shunt::local::decode_conntrack_reply(bytes));
  return 0;
}
