// Feeds the JSON part of the listener message: no crash, and a result that is in bounds.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "sandbox/profile/receive.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto state =
      shunt::sandbox::parse_process_state({reinterpret_cast<const char*>(data), size});
  if (state && (state->pid <= 0 || state->notify_index >= state->fd_count)) std::abort();
  return 0;
}
