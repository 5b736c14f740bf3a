#include "sandbox/answer_threads.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <future>
#include <map>
#include <memory>
#include <vector>

using namespace shunt;
using namespace shunt::sandbox;

namespace {

struct NoKernel final : NotifyKernel {
  Status sizes(seccomp_notif_sizes& sizes) override {
    sizes = {};
    return Done{};
  }
  int receive(int, void*) override { return ENOENT; }
  int control(int, unsigned long, void*) override { return -ENOENT; }
};

/// Containers whose calls are bytes in a pipe; the end of the pipe is the end of the container.
struct Bed {
  NoKernel kernel;
  std::mutex mutex;
  std::condition_variable changed;
  int answered = 0;
  int begun = 0;
  int ended = 0;
  std::vector<std::shared_ptr<Container>> back;
  std::vector<UniqueFd> writers;
  AnswerThreads threads{
      SIGUSR1, [this](const auto& container, auto& order) { return serve(*container, order); },
      [this](std::shared_ptr<Container> container) {
        tell([&] { back.push_back(std::move(container)); });
      }};

  Bed() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);
  }

  std::shared_ptr<Container> container() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    writers.emplace_back(ends[1]);
    auto notify = NotifyFd::adopt(UniqueFd{ends[0]}, kernel);
    return std::make_shared<Container>("c", std::move(*notify), config::Pair::kUnix);
  }
  void call(std::size_t number) { CHECK(::write(writers[number].get(), "c", 1) == 1); }

  template <typename Function>
  void tell(Function function) {
    const std::lock_guard guard{mutex};
    function();
    changed.notify_all();
  }
  template <typename Predicate>
  void wait(Predicate predicate) {
    std::unique_lock guard{mutex};
    REQUIRE(changed.wait_for(guard, std::chrono::seconds{30}, predicate));
  }
  template <typename Predicate>
  void look_until(Predicate predicate) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{30};
    const auto reached = [&] {
      const std::lock_guard guard{mutex};
      return predicate();
    };
    while (!reached() && std::chrono::steady_clock::now() < deadline) threads.look_after();
    REQUIRE(reached());
  }

  bool serve(Container& container, AnswerThreads::Order& order) {
    tell([&] { ++begun; });
    bool in_use = true;
    for (std::uint32_t calls = 0; in_use && !order.stop.load(); order.calls = ++calls) {
      char byte = 0;
      order.waits = true;
      const ssize_t got = ::read(container.notify.get(), &byte, 1);
      order.waits = false;
      if (got == 0) in_use = false;
      if (got == 1) tell([&] { ++answered; });
    }
    tell([&] { ++ended; });
    return in_use;
  }
};

}  // namespace

TEST_CASE("two containers have a thread for good, four more can get one for now") {
  Bed bed;
  CHECK(bed.threads.start_for_good(bed.container()));
  CHECK(bed.threads.start_for_good(bed.container()));
  CHECK(!bed.threads.start_for_good(bed.container()));
  for (int i = 0; i < 4; ++i) CHECK(bed.threads.start_for_now(bed.container()));
  CHECK(!bed.threads.start_for_now(bed.container()));
  bed.wait([&] { return bed.begun == 6; });
  bed.look_until([&] { return bed.back.size() == 4; });
  CHECK(bed.ended == 4);
}

TEST_CASE("a container that is silent goes back, one that calls or ended does not") {
  Bed bed;
  const auto container = bed.container();
  REQUIRE(bed.threads.start_for_now(container));
  for (int i = 0; i < 20; ++i) {
    bed.call(0);
    bed.wait([&] { return bed.answered == i + 1; });
    bed.threads.look_after();
  }
  CHECK(bed.back.empty());
  // Silent: some looks later it is told to go, and hears it, even if that was just before its wait.
  bed.look_until([&] { return !bed.back.empty(); });
  CHECK(bed.back.front() == container);

  REQUIRE(bed.threads.start_for_now(container));  // and can have one again
  bed.writers.clear();
  bed.wait([&] { return bed.ended == 2; });
  bed.threads.end();
  CHECK(bed.back.size() == 1);
  CHECK(!bed.threads.start_for_now(container));
}

TEST_CASE("64 calls within a second are often") {
  using namespace std::chrono_literals;
  CallsOften often;
  CallsOften::Clock::time_point now{1h};
  const auto calls = [&](int count, std::chrono::milliseconds apart) {
    bool found = false;
    for (int i = 0; i < count; ++i) found = often(now += apart) || found;
    return found;
  };
  CHECK(!calls(64 * 10, 20ms));
  CHECK(!calls(63, 1ms));
  CHECK(calls(1, 1ms));
  CHECK(!calls(63, 15ms));
  CHECK(calls(1, 15ms));
  CHECK(!calls(64, 17ms));
}
