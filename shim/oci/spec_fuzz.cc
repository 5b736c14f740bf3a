// config.json as a hostile bundle may hold it, and a runtime's JSON log.
#include "shim/oci/runtime.h"
#include "shim/oci/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  if (const auto spec = shunt::oci::summarize_spec(text)) static_cast<void>(spec->group("own"));
  static_cast<void>(shunt::oci::last_error_in_log(text));
  return 0;
}
