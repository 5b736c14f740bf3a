// Names that somebody else may have bound, and lines of an epoll's fdinfo. What is accepted as a
// name is the one spelling of what it says.
#include <cstdlib>

#include "netstack/local/epoll_repair.h"
#include "netstack/local/fast_name.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  static_cast<void>(shunt::local::decode_mailbox(text));
  static_cast<void>(shunt::local::parse_epoll_line(text, 5));
  if (const auto name = shunt::local::decode(text)) {
    const auto again = shunt::local::encode(*name);
    if (again && shunt::local::decode(*again) != name) std::abort();
  }
  return 0;
}
