#include "netstack/local/taking_turns.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

using namespace shunt::local;
using std::chrono::seconds;

TEST_CASE("one takes the turn, and the others wait for the next one") {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("shunt-turns-" + std::to_string(::getpid())))
          .string();
  auto one = TakingTurns::open(path);
  auto other = TakingTurns::open(path);
  REQUIRE(one);
  REQUIRE(other);
  const TakingTurns::Clock::time_point now{seconds{1000}};
  CHECK(one->take(now, now + seconds{2}, seconds{60}));
  CHECK_FALSE(other->take(now, now + seconds{2}, seconds{60}));
  CHECK_FALSE(other->take(now + seconds{1}, now + seconds{3}, seconds{60}));
  CHECK(other->take(now + seconds{2}, now + seconds{4}, seconds{60}));
  other->set(now + seconds{10});
  CHECK_FALSE(one->take(now + seconds{5}, now + seconds{6}, seconds{60}));
  // As another boot may have left it.
  one->set(now + seconds{1000});
  CHECK(other->take(now, now + seconds{1}, seconds{60}));
  std::filesystem::remove(path);
}
