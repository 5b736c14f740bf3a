#include "netstack/local/taking_turns.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

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

TEST_CASE("where the file system is full there are no turns, instead of a SIGBUS") {
  if (::geteuid() != 0) return;
  std::thread{[] {  // in a mount namespace of its own
    const std::string at = "/tmp";
    REQUIRE(::unshare(CLONE_NEWNS) == 0);
    REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    REQUIRE(::mount("full", at.c_str(), "tmpfs", 0, "size=64k") == 0);
    {
      std::ofstream all{at + "/all"};
      all << std::string(1U << 20U, 'x') << std::flush;
    }
    const auto turns = TakingTurns::open(at + "/turns");
    REQUIRE_FALSE(turns);
    CHECK(turns.error().number == ENOSPC);
    std::filesystem::remove(at + "/all");
    auto later = TakingTurns::open(at + "/turns");
    REQUIRE(later);
    const auto now = TakingTurns::Clock::now();
    CHECK(later->take(now, now + seconds{1}, seconds{60}));
  }}
      .join();
}
