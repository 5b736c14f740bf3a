// Bytes of a peer must never do more than decode or not; what decodes encodes to itself.
#include "netstack/host/message.h"

#include <cstdlib>

using namespace shunt;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fabric::View bytes = std::as_bytes(std::span{data, size});
  if (const auto message = host::decode_message(bytes)) {
    const auto again = host::encode(*message);
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end())) std::abort();
  }
  (void)host::decode_hello(bytes);
  (void)host::decode_offer(bytes);
  (void)host::decode_preface(bytes);
  return 0;
}
