#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "netstack/base/co.h"
#include "netstack/base/event_loop.h"
#include "netstack/base/log.h"

using namespace shunt;
using namespace std::chrono_literals;

namespace {
struct Pipe {
  UniqueFd in, out;
  Pipe() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    in = UniqueFd{ends[0]};
    out = UniqueFd{ends[1]};
  }
};
}  // namespace

TEST_CASE("an error names the call and the errno") {
  CHECK(describe({ECONNREFUSED, "connect"}) == "connect: ECONNREFUSED (Connection refused)");
  CHECK(errno_name(99999) == "errno 99999");
}

TEST_CASE("a watch forgotten in the same batch is not called") {
  EventLoop loop;
  Pipe a, b;
  int calls = 0;
  EventLoop::Token first = 0, second = 0;
  first = *loop.watch(a.in.get(), EPOLLIN, [&](std::uint32_t) {
    ++calls;
    loop.forget(second);
    loop.forget(first);
  });
  second = *loop.watch(b.in.get(), EPOLLIN, [&](std::uint32_t) {
    ++calls;
    loop.forget(first);
    loop.forget(second);
  });
  REQUIRE(::write(a.out.get(), "x", 1) == 1);
  REQUIRE(::write(b.out.get(), "x", 1) == 1);
  loop.run_once(0);
  loop.run_once(0);
  CHECK(calls == 1);
}

TEST_CASE("timers fire in order and can be forgotten") {
  EventLoop loop;
  std::string seen;
  // Of one moment: between two calls of after() this thread may lose the CPU for longer than the
  // delays differ by.
  const auto now = EventLoop::Clock::now();
  loop.at(now + 2ms, [&] { seen += 'b'; });
  const auto never = loop.at(now + 1ms, [&] { seen += 'x'; });
  loop.at(now + 1ms, [&] { seen += 'a'; });
  loop.at(now + 3ms, [&] { loop.stop(); });
  loop.forget(never);
  loop.run();
  CHECK(seen == "ab");
}

TEST_CASE("the clock follows the timers") {
  EventLoop loop;
  std::string seen;
  const auto now = EventLoop::Clock::now();
  const auto first = loop.at(now + 5ms, [&] { seen += 'x'; });
  loop.at(now + 20ms, [&] {
    seen += 'c';
    loop.after(1ms, [&] { loop.stop(); });
  });
  loop.forget(first);                                             // rings for nothing
  loop.at(now - 1s, [&] { seen += 'a'; });                        // has been
  loop.at(EventLoop::Clock::time_point{}, [&] { seen += '0'; });  // is not "never"
  loop.at(EventLoop::Clock::time_point::max(), [&] { seen += 'x'; });
  loop.after(10ms, [&] {
    seen += 'b';
    loop.after(0ms, [&] { seen += '-'; });
    while (seen.back() != '-') loop.run_once(-1);  // a loop in a callback has timers, too
  });
  loop.run();
  CHECK(seen == "0ab-c");
}

TEST_CASE("a watch forgotten in a batch of events gets none of them") {
  EventLoop loop;
  Pipe one, two;
  int calls = 0;
  auto held = std::make_shared<int>(0);
  std::array<EventLoop::Token, 2> tokens{};
  const auto callback = [&, held](std::uint32_t) {
    ++calls;
    for (const auto token : tokens) loop.forget(token);  // itself and the other
    CHECK(held.use_count() == 3);                        // the other's is gone, its own is not
  };
  tokens = {*loop.watch(one.in.get(), EPOLLIN, callback),
            *loop.watch(two.in.get(), EPOLLIN, callback)};
  CHECK(held.use_count() == 4);
  for (const Pipe* pipe : {&one, &two}) REQUIRE(::write(pipe->out.get(), "x", 1) == 1);
  loop.run_once(1000);
  loop.run_once(0);
  CHECK(calls == 1);
}

TEST_CASE("a turn comes once before the next wait, and not after its end") {
  EventLoop loop;
  std::string seen;
  EventLoop::Turn again{loop, [&] {
                          seen += 'a';
                          if (seen.size() < 3) again.ask();
                        }};
  std::optional<EventLoop::Turn> ended{std::in_place, loop, [&] { seen += 'x'; }};
  again.ask();
  again.ask();
  ended->ask();
  ended.reset();
  for (int i = 0; i < 4; ++i) loop.run_once(0);
  CHECK(seen == "aaa");
}

TEST_CASE("after a stop what has come goes before what is due") {
  Pipe pipe, answer, ready;
  const auto due = EventLoop::Clock::now() + 300ms;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    EventLoop loop;
    const auto say = [&](char what) {
      [[maybe_unused]] const auto ignored = ::write(answer.out.get(), &what, 1);
      ::_exit(0);
    };
    const auto watch = loop.watch(pipe.in.get(), EPOLLIN, [&](std::uint32_t) { say('e'); });
    if (!watch) say('x');
    loop.at(due, [&] { say('t'); });
    [[maybe_unused]] const auto ignored = ::write(ready.out.get(), "x", 1);
    loop.run();
  }
  pollfd up{ready.in.get(), POLLIN, 0};
  REQUIRE(::poll(&up, 1, 60'000) == 1);
  std::this_thread::sleep_for(50ms);  // it waits
  REQUIRE(::kill(child, SIGSTOP) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, WUNTRACED) == child);
  if (!WIFSTOPPED(status)) return;  // stopped too late: its timer was right
  const bool in_time = EventLoop::Clock::now() < due;
  REQUIRE(::write(pipe.out.get(), "x", 1) == 1);
  std::this_thread::sleep_until(due + 50ms);
  REQUIRE(::kill(child, SIGCONT) == 0);
  pollfd said{answer.in.get(), POLLIN, 0};
  REQUIRE(::poll(&said, 1, 60'000) == 1);
  char what = 0;
  REQUIRE(::read(answer.in.get(), &what, 1) == 1);
  if (in_time) CHECK(what == 'e');
  REQUIRE(::waitpid(child, &status, 0) == child);
}

TEST_CASE("a coroutine waits for readiness, or for its deadline") {
  EventLoop loop;
  Pipe pipe;
  std::string seen;
  const auto wait = [](EventLoop& on, int fd, std::string& out) -> Co<void> {
    std::uint32_t events = co_await on.ready(fd, EPOLLIN, EventLoop::Clock::now() + 1ms);
    out += events == 0 ? "timeout " : "ready ";
    on.post([fd, &on, &out] {
      out += "posted ";
      (void)fd;
      (void)on;
    });
    co_await on.sleep(1ms);
    events = co_await on.ready(fd, EPOLLIN);
    out += (events & EPOLLIN) != 0 ? "readable" : "?";
    on.stop();
  };
  spawn(wait(loop, pipe.in.get(), seen));
  loop.after(10ms, [&] { REQUIRE(::write(pipe.out.get(), "x", 1) == 1); });
  loop.run();
  CHECK(seen == "timeout posted readable");
}

TEST_CASE("a gate lets one coroutine through at a time, in order") {
  EventLoop loop;
  Gate gate;
  std::string seen;
  const auto work = [](EventLoop& on, Gate& through, std::string& out, char name) -> Co<void> {
    const auto guard = co_await through.enter();
    out += name;
    co_await on.sleep(1ms);
    out += name;
    if (name == 'c') on.stop();
  };
  for (const char name : {'a', 'b', 'c'}) spawn(work(loop, gate, seen, name));
  loop.run();
  CHECK(seen == "aabbcc");
}

TEST_CASE("what happens once reaches those who wait and those who come later") {
  Once<int> exit;
  int sum = 0;
  const auto waiter = [](Once<int> on, int& out) -> Co<void> { out += co_await on.wait(); };
  spawn(waiter(exit, sum));
  spawn(waiter(exit, sum));
  CHECK(sum == 0);
  exit.set(4);
  exit.set(5);
  CHECK(sum == 8);
  spawn(waiter(exit, sum));
  CHECK(sum == 12);
}

TEST_CASE("log lines have the form containerd reads") {
  Pipe pipe;
  log::open(pipe.out.get());
  log::set_level(log::Level::kInfo);
  log::debug("base", "hidden");
  log::warn("base", "say \"{}\"\n", "hi");
  std::array<char, 512> text{};
  const auto n = ::read(pipe.in.get(), text.data(), text.size());
  REQUIRE(n > 0);
  const std::string line{text.data(), static_cast<std::size_t>(n)};
  CHECK(line.find("time=\"2") == 0);
  CHECK(line.find("level=warning msg=\"say \\\"hi\\\"\\n\" module=base\n") != std::string::npos);
  CHECK(line.find("hidden") == std::string::npos);
  CHECK(log::parse_level("loud") == std::nullopt);
}
