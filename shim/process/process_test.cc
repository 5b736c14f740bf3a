// Children, their exits, their streams: with real processes.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>

#include "shim/files.h"
#include "shim/oci/runtime.h"
#include "shim/process/reaper.h"
#include "shim/process/tree.h"
#include "shim/stdio/pump.h"

using namespace shunt;
using namespace std::chrono_literals;

namespace {

struct Pipe {
  UniqueFd read, write;
  explicit Pipe(int flags = 0) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC | flags) == 0);
    read = UniqueFd{ends[0]};
    write = UniqueFd{ends[1]};
  }
};

template <typename T>
T run(EventLoop& loop, Co<T> work) {
  std::optional<T> result;
  const auto keep = [](Co<T> what, std::optional<T>& out) -> Co<void> {
    out.emplace(co_await what);
  };
  spawn(keep(std::move(work), result));
  while (!result) loop.run_once(1000);
  return std::move(*result);
}

std::uint32_t status_of(EventLoop& loop, Reaper& reaper, std::vector<std::string> argv) {
  ChildSpec spec;
  spec.argv = std::move(argv);
  const auto pid = start_child(spec);
  REQUIRE(pid);
  return run(loop, reaper.wait(*pid, 60s))->status;
}

}  // namespace

TEST_CASE("exit codes and signals are told apart as 128 + n") {
  EventLoop loop;
  Reaper reaper{loop};
  CHECK(status_of(loop, reaper, {"true"}) == 0);
  CHECK(status_of(loop, reaper, {"sh", "-c", "exit 3"}) == 3);
  CHECK(status_of(loop, reaper, {"sh", "-c", "kill -9 $$"}) == 137);
}

TEST_CASE("a program that cannot be run is an error of the call, with execve's errno") {
  ChildSpec spec;
  spec.argv = {"/does/not/exist"};
  CHECK(start_child(spec).error().number == ENOENT);
  spec.argv = {"/etc/passwd"};
  CHECK(start_child(spec).error().number == EACCES);
  spec.argv = {"no-such-program-anywhere"};
  CHECK(start_child(spec).error().number == ENOENT);
}

TEST_CASE("a child gets the descriptors it was given and no others") {
  EventLoop loop;
  Reaper reaper{loop};
  const Pipe pipe;
  const Pipe leak;
  ChildSpec spec;
  spec.argv = {"sh", "-c", "ls /proc/self/fd | tr '\\n' ' '; echo swapped >&5"};
  spec.descriptors = {{pipe.write.get(), 1}, {pipe.write.get(), 5}};
  const auto pid = start_child(spec);
  REQUIRE(pid);
  CHECK(run(loop, reaper.wait(*pid, 60s))->status == 0);
  std::array<char, 256> text{};
  REQUIRE(::read(pipe.read.get(), text.data(), text.size()) > 0);
  const std::string seen{text.data()};
  CAPTURE(seen);
  CHECK(seen.find("0 1 2 3 5 ") == 0);  // 3: the directory ls reads
  CHECK(seen.find("swapped") != std::string::npos);
}

TEST_CASE("an exit before anybody watches is kept while a Hold lives") {
  EventLoop loop;
  Reaper reaper{loop};
  ChildSpec spec;
  spec.argv = {"sh", "-c", "exit 7"};
  std::optional<Reaper::Hold> hold;
  hold.emplace(reaper);
  const auto early = start_child(spec);
  REQUIRE(early);
  // The exit of a later child proves that the loop has collected the earlier one too.
  while (::kill(*early, 0) == 0) loop.run_once(100);
  std::uint32_t status = 0;
  reaper.watch(*early, [&](ChildExit exit) { status = exit.status; });
  CHECK(status == 0);  // not from inside watch()
  loop.run_once(0);
  CHECK(status == 7);
}

TEST_CASE("a runtime call that hangs is killed with everything it started") {
  EventLoop loop;
  Reaper reaper{loop};
  Pipe pipe;
  oci::RuntimeSettings settings;
  settings.timeout = 200ms;
  settings.root = "/nonexistent";
  // As runc does: a child in a session of its own, which keeps the pipe open.
  const std::string script = "/tmp/shunt-stuck-" + std::to_string(::getpid());
  REQUIRE(write_file_atomically(script, "#!/bin/sh\nsetsid sleep 1000 &\nwait\n", 0755));
  settings.binary = script;
  oci::Runtime runtime{loop, reaper, settings, "/tmp", "c"};
  const auto outcome =
      run(loop, runtime.exec("/dev/null", {-1, pipe.write.get(), -1}, "/tmp/none", ""));
  ::unlink(script.c_str());
  CHECK_FALSE(outcome.ok);
  CHECK(outcome.message.find("exec did not finish within 0.2s and was killed") !=
        std::string::npos);
  // Both are gone: nobody holds the pipe open any more.
  pipe.write.reset();
  pollfd end{pipe.read.get(), POLLIN, 0};
  CHECK(::poll(&end, 1, 60'000) == 1);
  CHECK((end.revents & POLLHUP) != 0);
}

TEST_CASE("a runtime that is not installed says so in a sentence") {
  EventLoop loop;
  Reaper reaper{loop};
  oci::RuntimeSettings settings;
  settings.binary = "no-such-runtime";
  oci::Runtime runtime{loop, reaper, settings, "/tmp", "c"};
  CHECK(
      run(loop, runtime.start()).message ==
      "cannot run the OCI runtime \"no-such-runtime\": execve: ENOENT (No such file or directory)");
}

TEST_CASE("a pump moves every byte to a pipe and to a file, and ends with its source") {
  EventLoop loop;
  std::string sent;
  for (int i = 0; i < 300'000; ++i) sent += static_cast<char>('a' + i % 23);
  for (const bool to_file : {false, true}) {
    CAPTURE(to_file);
    Pipe source{O_NONBLOCK};
    Pipe sink{O_NONBLOCK};
    const std::string path = "/tmp/shunt-pump-" + std::to_string(::getpid());
    const UniqueFd file{::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
    auto to = std::make_shared<UniqueFd>(to_file ? ::fcntl(file.get(), F_DUPFD_CLOEXEC, 3)
                                                 : sink.write.release());
    bool done = false;
    const Pump pump{loop, std::move(source.read), std::move(to), [&] { done = true; }};
    std::string received;
    std::size_t written = 0;
    while (!done || (!to_file && received.size() < sent.size())) {
      if (written < sent.size()) {
        const ssize_t n = ::write(source.write.get(), sent.data() + written, sent.size() - written);
        if (n > 0) written += static_cast<std::size_t>(n);
        if (written == sent.size()) source.write.reset();
      }
      loop.run_once(1);
      std::array<char, 4096> bytes{};
      const ssize_t n = ::read(sink.read.get(), bytes.data(), bytes.size());
      if (n > 0) received.append(bytes.data(), static_cast<std::size_t>(n));
    }
    if (to_file) received = read_file(path, 1 << 20).value_or("");
    ::unlink(path.c_str());
    CHECK(received == sent);
  }
}

TEST_CASE("what nobody has come to read yet is not lost with the end of the source") {
  EventLoop loop;
  const std::string path = "/tmp/shunt-fifo-" + std::to_string(::getpid());
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  bool comes = true;
  SUBCASE("a reader comes") {}
  SUBCASE("none does") { comes = false; }
  Pipe source{O_NONBLOCK};
  auto to = std::make_shared<UniqueFd>(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  REQUIRE(to->valid());
  bool done = false;
  const Pump pump{loop, std::move(source.read), std::move(to), [&] { done = true; }};
  REQUIRE(::write(source.write.get(), "text", 4) == 4);
  source.write.reset();
  for (int turns = 0; turns < 10; ++turns) loop.run_once(1);
  const auto open_reader = [&] {
    return UniqueFd{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  };
  std::array<char, 16> bytes{};
  UniqueFd reader;
  if (comes) {
    reader = open_reader();
    loop.run_once(1);
    CHECK(::read(reader.get(), bytes.data(), bytes.size()) == 4);
  }
  while (!done) loop.run_once(100);
  if (!comes) reader = open_reader();
  ::unlink(path.c_str());
  CHECK(::read(reader.get(), bytes.data(), bytes.size()) == 0);  // the end
}

TEST_CASE("the output of a program that ends well is taken") {
  CHECK(output_of({"echo", "one"}) == "one\n");
  CHECK_FALSE(output_of({"false"}));
  CHECK_FALSE(output_of({"/does/not/exist"}));
}

TEST_CASE("children keep the limit of open files that we had before raising ours") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit lower = before;
  lower.rlim_cur = std::min<rlim_t>(before.rlim_max, 900);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &lower) == 0);
  raise_file_limit();
  rlimit raised{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &raised) == 0);
  CHECK(raised.rlim_cur == before.rlim_max);
  CHECK(output_of({"sh", "-c", "ulimit -Sn"}) == std::to_string(lower.rlim_cur) + "\n");
}

TEST_CASE("a tree that is just growing is killed to the last leaf") {
  EventLoop loop;
  Reaper reaper{loop};
  for (int i = 0; i < 20; ++i) {
    // Every process of the tree has the pipe's other end.
    Pipe pipe;
    ChildSpec spec;
    spec.argv = {"sh", "-c",
                 "grow() { i=0; while [ $i -lt 50 ]; do i=$((i+1)); sleep 600 & done; wait; };"
                 "grow & grow & grow & grow & echo up; wait"};
    spec.descriptors = {{pipe.write.get(), 1}};
    const auto pid = start_child(spec);
    REQUIRE(pid);
    pipe.write.reset();
    std::array<char, 16> text{};
    REQUIRE(::read(pipe.read.get(), text.data(), text.size()) > 0);
    kill_tree(*pid);
    pollfd end{pipe.read.get(), POLLIN, 0};
    const int ended = ::poll(&end, 1, 30'000);
    CHECK(run(loop, reaper.wait(*pid, 60s))->status == 137);
    REQUIRE(ended == 1);
    CHECK(::read(pipe.read.get(), text.data(), text.size()) == 0);
  }
}
