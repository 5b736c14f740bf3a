// How fast the pump and the ring protocol are between two processes over a window:
//
//   window_bench [--quick] [--one-cpu] [--rounds N] [--spin MICROSECONDS] [--ring KIB]
//
// Four processes as in life: client, its shim, the server's shim, server. Each round measures a raw
// AF_UNIX pair (the limit) and the window, interleaved; medians are shown with the least and most.
// CPU is what all processes of a variant used, shims included. A process of the lowest priority per
// CPU keeps virtual CPUs awake, so that a wake-up does not measure the hypervisor.
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "netstack/window/pair_of_fabrics.h"

using namespace shunt;
using namespace shunt::window;
using Clock = std::chrono::steady_clock;

namespace {

void check(bool so, const char* what) {
  if (so) return;
  std::perror(what);
  std::exit(1);
}

double cpu_seconds(int pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/schedstat"};
  double nanoseconds = 0;
  file >> nanoseconds;
  return nanoseconds / 1e9;
}

double kib_of(int pid, const std::string& what) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/smaps_rollup"};
  for (std::string word; file >> word;)
    if (word == what) {
      double kib = 0;
      file >> kib;
      return kib;
    }
  return 0;
}

void write_all(int fd, std::size_t total, std::size_t piece) {
  std::vector<char> buffer(piece, 'x');
  for (std::size_t sent = 0; sent < total;) {
    const ssize_t n = ::write(fd, buffer.data(), std::min(piece, total - sent));
    check(n > 0, "write");
    sent += static_cast<std::size_t>(n);
  }
}

void read_all(int fd, std::size_t total, std::size_t piece) {
  std::vector<char> buffer(piece);
  for (std::size_t got = 0; got < total;) {
    const ssize_t n = ::read(fd, buffer.data(), std::min(piece, total - got));
    check(n > 0, "read");
    got += static_cast<std::size_t>(n);
  }
}

/// A process that runs `work` when told, once per line on its pipe, and says when it is done.
class Worker {
 public:
  template <typename Work>
  explicit Worker(Work work) {
    check(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_.data()) == 0, "socketpair");
    pid_ = ::fork();
    check(pid_ >= 0, "fork");
    if (pid_ != 0) {
      ::close(ends_[1]);
      return;
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(ends_[0]);
    for (char go = 0; ::read(ends_[1], &go, 1) == 1;) {
      work();
      (void)!::write(ends_[1], &go, 1);
    }
    ::_exit(0);
  }
  ~Worker() {
    ::close(ends_[0]);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void go() const { (void)!::write(ends_[0], "g", 1); }
  int done_fd() const { return ends_[0]; }
  int pid() const { return pid_; }

 private:
  std::array<int, 2> ends_{};
  int pid_ = -1;
};

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

struct Spinners {
  std::vector<int> pids;
  explicit Spinners(unsigned count) {
    for (unsigned cpu = 0; cpu < count; ++cpu) {
      const int pid = ::fork();
      if (pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(static_cast<int>(cpu));
        const sched_param none{};
        ::sched_setscheduler(0, SCHED_IDLE, &none);
        for (;;) {
        }
      }
      pids.push_back(pid);
    }
  }
  ~Spinners() {
    for (const int pid : pids) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }
};

void blocking(int fd) { ::fcntl(fd, F_SETFL, 0); }

Result<fabric::Ends> make_ends() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) < 0)
    return last_error("socketpair");
  const int size = 8 << 20;
  for (const int end : ends) ::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  return fabric::Ends{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
}

struct Pair {
  UniqueFd client, server;
};

Pair connect(EventLoop& loop, fabric::contract::Pair& links, fabric::StreamId id) {
  Pair ends;
  fabric::Bytes offer;
  links.dialled->open(
      id, [] { return make_ends(); },
      [&](Result<fabric::Half> half) {
        check(bool{half}, "open");
        offer = half->message;
        ends.client = std::move(half->application);
      });
  bool done = false;
  links.listened->accept(
      id, offer, [] { return make_ends(); },
      [&](Result<fabric::Half> half) {
        check(bool{half}, "accept");
        check(bool{links.dialled->complete(id, half->message)}, "complete");
        ends.server = std::move(half->application);
        done = true;
      });
  while (!done) loop.run_once(10);
  blocking(ends.client.get());
  blocking(ends.server.get());
  return ends;
}

struct Figures {
  std::vector<double> values;
  void show(const char* what, const char* unit) {
    std::sort(values.begin(), values.end());
    std::printf("  %-28s %9.2f %s  (%.2f to %.2f)\n", what, values[values.size() / 2], unit,
                values.front(), values.back());
  }
};

/// Seconds and CPU seconds until both workers are done; the loop runs meanwhile.
struct Cost {
  double seconds = 0, cpu = 0;
};
Cost run(EventLoop* loop, const Worker& client, const Worker& server,
         const std::vector<int>& shims) {
  const auto used = [&] {
    double sum = cpu_seconds(client.pid()) + cpu_seconds(server.pid());
    for (const int pid : shims) sum += cpu_seconds(pid);
    return sum;
  };
  const double before = used();
  const auto start = Clock::now();
  server.go();
  client.go();
  int left = 2;
  if (loop != nullptr) {
    std::vector<EventLoop::Token> watches;
    for (const Worker* worker : {&client, &server})
      watches.push_back(*loop->watch(worker->done_fd(), EPOLLIN, [&, worker](std::uint32_t) {
        char byte = 0;
        (void)!::read(worker->done_fd(), &byte, 1);
        --left;
      }));
    while (left > 0) loop->run_once(-1);
    for (const auto watch : watches) loop->forget(watch);
  } else {
    for (const Worker* worker : {&client, &server}) {
      char byte = 0;
      (void)!::read(worker->done_fd(), &byte, 1);
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return {seconds, used() - before};
}

struct Variant {
  const char* name;
  EventLoop* loop;
  std::vector<int> shims;
  Pair stream, small;
  Figures rate{}, cpu{}, round{}, round_cpu{};
};

void measure(Variant& variant, std::size_t total, int trips) {
  {
    const Worker client{[&] { write_all(variant.stream.client.get(), total, 65536); }};
    const Worker server{[&] { read_all(variant.stream.server.get(), total, 65536); }};
    const Cost cost = run(variant.loop, client, server, variant.shims);
    variant.rate.values.push_back(static_cast<double>(total) / 1e9 / cost.seconds);
    variant.cpu.values.push_back(cost.cpu / (static_cast<double>(total) / 1e9));
  }
  const Worker client{[&] {
    for (int i = 0; i < trips; ++i) {
      write_all(variant.small.client.get(), 64, 64);
      read_all(variant.small.client.get(), 64, 64);
    }
  }};
  const Worker server{[&] {
    for (int i = 0; i < trips; ++i) {
      read_all(variant.small.server.get(), 64, 64);
      write_all(variant.small.server.get(), 64, 64);
    }
  }};
  const Cost cost = run(variant.loop, client, server, variant.shims);
  variant.round.values.push_back(cost.seconds * 1e6 / trips);
  variant.round_cpu.values.push_back(cost.cpu * 1e6 / trips);
}

void measure_idle(EventLoop& loop, fabric::contract::Pair& links, const std::vector<int>& shims) {
  std::vector<Pair> streams;
  const auto memory = [&] {
    return kib_of(shims[0], "Pss_Anon:") + kib_of(shims[0], "Pss_Shmem:");
  };
  const double before = memory();
  for (fabric::StreamId id = 0; id < 4000; ++id) {
    streams.push_back(connect(loop, links, 1001 + 2 * id));
    const std::vector<char> block(100000, 'x');  // each had traffic, and a ring, before it is idle
    ::send(streams.back().client.get(), block.data(), block.size(), MSG_DONTWAIT);
    std::size_t got = 0;
    while (got < block.size()) {
      loop.run_once(0);
      std::array<char, 65536> into{};
      const ssize_t n = ::recv(streams.back().server.get(), into.data(), into.size(), MSG_DONTWAIT);
      got += n > 0 ? static_cast<std::size_t>(n) : 0;
    }
  }
  const auto wait = [&](std::chrono::milliseconds time) {
    const auto end = Clock::now() + time;
    while (Clock::now() < end) loop.run_once(10);
  };
  wait(std::chrono::milliseconds{500});
  const double held = memory() - before;
  const auto start = Clock::now();
  const double cpu = cpu_seconds(shims[0]) + cpu_seconds(shims[1]);
  const auto end = start + std::chrono::seconds{3};
  bool over = false;
  loop.after(end - start, [&] { over = true; });
  while (!over) loop.run_once(-1);
  const double used = cpu_seconds(shims[0]) + cpu_seconds(shims[1]) - cpu;
  std::printf("4000 idle streams: %.2f %% of one CPU (both shims), %.2f KiB each in this shim\n",
              used / 3 * 100, held / 4000);
  std::uint64_t rings = 0;
  for (const auto& stream : links.listened->view().streams) rings += stream.ring;
  std::printf("  ring memory they hold: %llu KiB\n", static_cast<unsigned long long>(rings / 1024));
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 5;
  std::size_t total = 4ull << 30;
  int trips = 50000;
  bool one_cpu = false;
  int spin = -1, ring_kib = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--quick")
      total = 1ull << 30, trips = 20000, rounds = 3;
    else if (word == "--one-cpu")
      one_cpu = true;
    else if (word == "--spin" && i + 1 < argc)
      spin = std::atoi(argv[++i]);
    else if (word == "--ring" && i + 1 < argc)
      ring_kib = std::atoi(argv[++i]);
    else if (word == "--rounds" && i + 1 < argc)
      rounds = std::atoi(argv[++i]);
    else {
      std::fprintf(
          stderr,
          "usage: window_bench [--quick] [--one-cpu] [--rounds N] [--spin US] [--ring KIB]\n");
      return 2;
    }
  }
  const Spinners spinners{std::thread::hardware_concurrency()};
  if (one_cpu) pin(0);
  EventLoop loop;
  const auto failed = [](Error error) { std::printf("failed: %s\n", describe(error).c_str()); };
  auto links = join_child(loop, failed, failed, [&](Options& options) {
    if (spin >= 0) options.ring.spin = std::chrono::microseconds{spin};
    if (ring_kib > 0) options.ring.largest_ring = static_cast<std::uint32_t>(ring_kib) << 10;
  });
  check(links.dialled != nullptr, "window");
  const std::vector<int> shims{::getpid(), child_pid(*links.listened)};

  std::vector<Variant> variants;
  for (const bool raw : {true, false}) {
    Variant variant{raw ? "AF_UNIX pair" : "window",
                    raw ? nullptr : &loop,
                    raw ? std::vector<int>{} : shims,
                    {},
                    {}};
    for (Pair* pair : {&variant.stream, &variant.small}) {
      if (raw) {
        auto ends = make_ends();
        blocking(ends->application.get());
        blocking(ends->ours.get());
        *pair = {std::move(ends->application), std::move(ends->ours)};
      } else {
        *pair = connect(loop, links, pair == &variant.stream ? 1 : 3);
      }
    }
    variants.push_back(std::move(variant));
  }
  for (int round = 0; round < rounds; ++round)
    for (Variant& variant : variants) measure(variant, total, trips);
  std::printf("%s, %d rounds\n", one_cpu ? "all on one CPU" : "all CPUs", rounds);
  for (Variant& variant : variants) {
    std::printf("%s\n", variant.name);
    variant.rate.show("stream, 64 KiB writes", "GB/s");
    variant.cpu.show("CPU", "s/GB");
    variant.round.show("round trip, 64 B", "us  ");
    variant.round_cpu.show("CPU", "us/round trip");
  }
  for (const auto& [name, value] : links.dialled->view().counters)
    std::printf("  %-40s %llu\n", name.c_str(), static_cast<unsigned long long>(value));
  measure_idle(loop, links, shims);
  return 0;
}
