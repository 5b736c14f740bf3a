#include "sandbox/left_to_kernel.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>

using namespace shunt;
using namespace shunt::sandbox;

namespace {

// One listener, and the table and mailbox of its pod.
struct Bed {
  std::string directory = "/tmp/shunt-left-to-kernel-XXXXXX";
  std::unique_ptr<local::NodeTable> table;
  std::unique_ptr<local::Mailbox> mailbox;
  UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  LeftToKernel left;

  Bed() {
    REQUIRE(::mkdtemp(directory.data()) != nullptr);
    table = std::move(*local::NodeTable::open(directory));
    {
      const auto guard = table->lock();
      REQUIRE(table->put({"pod", 7, 3, 4, {*parse_address("198.18.0.2")}}));
    }
    static std::uint64_t beds = 0;
    auto opened = local::Mailbox::open((++beds << 32U) + static_cast<std::uint64_t>(::getpid()),
                                       kPort, AF_INET, {});
    REQUIRE(opened);
    mailbox = std::move(*opened);
    REQUIRE(::listen(listener.get(), 1) == 0);
  }
  ~Bed() { std::filesystem::remove_all(directory); }
  Bed(const Bed&) = delete;
  Bed& operator=(const Bed&) = delete;

  static constexpr std::uint16_t kPort = 80;
  /// Stands still, however long the test may take: all happens often. What is said in the table is
  /// later than it.
  const LeftToKernel::Clock::time_point now = LeftToKernel::Clock::now();
  const IpAddress pod = *parse_address("198.18.0.3");
  const IpAddress other = *parse_address("198.18.0.4");
  void strangers(int count) {
    for (int i = 0; i < count; ++i) left.handed_out(true, other, now);
  }
  void want(const IpAddress& client) {
    tick();
    table->want(table->own_slot(), kPort, client);
  }
  void spare(const IpAddress& client) {
    tick();
    table->spare(table->own_slot(), kPort, client);
  }
  static void tick() {  // what is said is rounded to 66 µs
    const auto start = LeftToKernel::Clock::now();
    while (LeftToKernel::Clock::now() - start < std::chrono::microseconds{70}) {
    }
  }
  bool worth_it() { return left.worth_it(kPort, *table, now); }
  bool begin() { return left.begin(listener.get(), kPort, *table, mailbox.get(), now); }
  bool covers(int number, bool only = false) { return covers(::gettid(), number, only); }
  bool covers(pid_t tid, int number, bool only = false) {
    return left.covers(tid, number, only, *table, now);
  }
  void look_after() { left.look_after(*table, mailbox.get(), now); }
  void home() { left.came_home(::gettid(), *table, mailbox.get()); }
  bool said() const { return table->left_to_kernel(table->own_slot(), kPort); }
};

}  // namespace

TEST_CASE("many strangers in a row are worth it, one pod among them is not") {
  Bed bed;
  CHECK(!bed.worth_it());
  bed.strangers(63);
  bed.left.handed_out(false, bed.pod, bed.now);
  bed.strangers(63);
  CHECK(!bed.worth_it());
  bed.strangers(1);
  CHECK(!bed.worth_it());  // a pod came a moment ago
  Bed other;
  other.strangers(64);
  CHECK(other.worth_it());
}

TEST_CASE("a pod that leaves its connections to the kernel is waited for no longer") {
  Bed bed;
  bed.left.handed_out(false, bed.pod, bed.now);
  bed.strangers(64);
  bed.spare(bed.other);
  CHECK(!bed.worth_it());
  bed.spare(bed.pod);
  CHECK(bed.worth_it());
  bed.want(bed.pod);  // and changed its mind
  CHECK(!bed.worth_it());
  bed.spare(bed.pod);
  CHECK(bed.worth_it());
  bed.want(bed.other);
  bed.spare(bed.pod);
  CHECK(!bed.worth_it());  // there is another one
  bed.spare(bed.other);
  CHECK(!bed.worth_it());
}

TEST_CASE("only accepts on that very listener are left to the kernel") {
  Bed bed;
  bed.strangers(64);
  REQUIRE(bed.begin());
  CHECK(bed.said());
  CHECK(bed.covers(bed.listener.get()));
  const UniqueFd same{::dup(bed.listener.get())};
  CHECK(bed.covers(same.get()));
  const UniqueFd another{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  CHECK(!bed.covers(another.get()));
  CHECK(!bed.covers(-1));
  CHECK(bed.covers(bed.listener.get()));
  bed.left.end(*bed.table, bed.mailbox.get());
  CHECK(!bed.said());
  CHECK(!bed.covers(bed.listener.get()));
}

TEST_CASE("where there is no other listener, a number that was this one is not asked for again") {
  Bed bed;
  bed.strangers(64);
  REQUIRE(bed.begin());
  const UniqueFd another{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  CHECK(!bed.covers(another.get(), true));
  const UniqueFd number{::dup(bed.listener.get())};
  CHECK(bed.covers(number.get(), true));
  REQUIRE(::dup3(another.get(), number.get(), O_CLOEXEC) >= 0);
  CHECK(bed.covers(number.get(), true));
  CHECK(!bed.covers(number.get(), false));  // another listener came
  CHECK(!bed.covers(another.get(), true));
  bed.want(bed.pod);
  CHECK(!bed.covers(number.get(), true));
}

TEST_CASE("a pod that comes ends it, once the last accept is back") {
  Bed bed;
  bed.strangers(64);
  REQUIRE(bed.begin());
  REQUIRE(bed.covers(bed.listener.get()));
  REQUIRE(!bed.covers(pid_t{1}, bed.listener.get()));
  bed.want(bed.pod);
  CHECK(!bed.covers(bed.listener.get()));
  CHECK(bed.said());
  bed.home();
  CHECK(!bed.said());
  bed.strangers(64);
  CHECK(!bed.worth_it());
}

TEST_CASE("an accept that runs in the kernel is waited for, whatever else its thread does") {
  Bed bed;
  bed.strangers(64);
  REQUIRE(bed.begin());
  std::promise<pid_t> started;
  std::thread waiting{[&] {
    started.set_value(::gettid());
    const UniqueFd accepted{::accept(bed.listener.get(), nullptr, nullptr)};
  }};
  const pid_t tid = started.get_future().get();
  REQUIRE(bed.covers(tid, bed.listener.get()));
  const std::string file = "/proc/" + std::to_string(tid) + "/syscall";
  const std::string in_accept = std::to_string(__NR_accept) + " ";
  std::string doing;
  while (!doing.starts_with(in_accept)) std::getline(std::ifstream{file}, doing);

  bed.want(bed.pod);
  CHECK(!bed.covers(bed.listener.get()));  // this thread is told to wait for its turn
  bed.home();
  bed.look_after();
  CHECK(bed.said());

  SockAddress address;
  address.length = sizeof address.storage;
  REQUIRE(::getsockname(bed.listener.get(), address.get(), &address.length) == 0);
  const UniqueFd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  REQUIRE(::connect(client.get(), address.get(), address.length) == 0);
  waiting.join();
  // It may still be on its way out, and one that runs does not say where it is.
  while (std::filesystem::exists(file)) ::sched_yield();
  bed.want(bed.pod);
  bed.look_after();
  CHECK(!bed.said());
}

TEST_CASE("it does not begin while a client decides") {
  Bed bed;
  const auto ticket = bed.table->begin(0);
  CHECK(!bed.begin());
  CHECK(!bed.said());
  CHECK(bed.table->commit(0, ticket));
  CHECK(bed.begin());
}
