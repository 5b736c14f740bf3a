// Whatever decodes must encode to the very same bytes, and decoding must end.
#include <cstdlib>
#include <cstring>

#include "netstack/ring/record.h"

using namespace shunt::ring;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::byte> rest{reinterpret_cast<const std::byte*>(data), size};
  while (!rest.empty()) {
    const auto before = rest;
    const auto record = decode(rest);
    if (!record) break;
    std::vector<std::byte> again;
    encode(*record, again);
    if (again.size() != before.size() - rest.size() || again.size() != encoded_size(*record) ||
        std::memcmp(again.data(), before.data(), again.size()) != 0)
      std::abort();
  }
  return 0;
}
