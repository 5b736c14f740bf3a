#include "shim/supervision.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "sandbox/profile/merge.h"

using namespace shunt;

namespace {

auto pair_in(std::string_view annotations) {
  const auto spec = sandbox::parse_config("{\"annotations\": " + std::string{annotations} + "}");
  REQUIRE(spec);
  return annotated_pair(*spec);
}

}  // namespace

TEST_CASE("an annotation chooses the kind of pair") {
  CHECK(*pair_in(R"({"shunt.io/upgrade.pair": "tcp"})") == config::Pair::kTcp);
  CHECK(*pair_in(R"({"shunt.io/upgrade.pair": "unix"})") == config::Pair::kUnix);
  CHECK(*pair_in(R"({"other": "tcp"})") == std::nullopt);
  CHECK(*pair_in("null") == std::nullopt);
}

TEST_CASE("another value is one sentence") {
  CHECK(pair_in(R"({"shunt.io/upgrade.pair": "TCP"})").error() ==
        "annotation shunt.io/upgrade.pair is \"TCP\", it must be \"unix\" or \"tcp\"");
}
