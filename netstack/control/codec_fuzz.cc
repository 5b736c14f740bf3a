// Whatever comes: decoding does not misbehave, and what it takes it also writes and reads alike.
#include <cstdlib>

#include "netstack/control/codec.h"

using namespace shunt::control;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  View left = std::as_bytes(std::span{data, size});
  Frame whole;
  while (frame(left, whole) == Framing::kWhole) {
    left = left.subspan(whole.size);
    const auto message = decode(whole.type, whole.payload);
    if (!message) continue;
    const Bytes again = encode(*message);
    Frame second;
    if (frame(again, second) != Framing::kWhole || second.size != again.size()) std::abort();
    if (decode(second.type, second.payload) != message) std::abort();
  }
  return 0;
}
