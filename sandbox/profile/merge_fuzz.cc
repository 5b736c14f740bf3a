// Feeds config.json to the merge: no crash, and a section that was left alone is byte for byte so.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "sandbox/profile/merge.h"
#include "sandbox/profile/testing/traps.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shunt;
  using namespace shunt::sandbox;
  Result<Json> config = parse_config({reinterpret_cast<const char*>(data), size});
  if (!config) return 0;
  const std::string before = serialise_config(*config);
  static const std::vector<Trap> traps = testing::sample_traps();
  const MergeReport report = merge_traps(*config, traps, {"/run/x", "m"});
  const std::string after = serialise_config(*config);
  if (!report.left_alone.empty() && before != after) std::abort();
  if (report.left_alone.empty() && report.traps.size() != traps.size()) std::abort();
  if (Result<Json> again = parse_config(after); !again || serialise_config(*again) != after)
    std::abort();
  return 0;
}
