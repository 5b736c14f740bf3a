#include "netstack/verbs/bootstrap.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::span bytes = std::as_bytes(std::span{data, size});
  using namespace shunt::verbs;
  if (const auto hello = decode_hello(bytes)) {
    if (decode_hello(encode(*hello)) != hello) __builtin_trap();
  }
  if (const auto message = decode_message(bytes)) {
    if (!decode_message(encode(*message))) __builtin_trap();
  }
  return 0;
}
