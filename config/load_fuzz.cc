// Any bytes as a config file: an answer, never a crash, and a refusal is one line.
#include <cstdint>
#include <cstdlib>

#include "config/check.h"
#include "config/load.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto loaded = shunt::config::load_text({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (loaded) {
    if (!shunt::config::check(*loaded).empty()) std::abort();
    return 0;
  }
  for (const char c : loaded.error())
    if (c < ' ' || c > '~') std::abort();
  return 0;
}
