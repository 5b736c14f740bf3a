#include "sandbox/short_lived.h"

#include <doctest/doctest.h>

#include <set>

using namespace shunt;
using namespace shunt::sandbox;
using namespace std::chrono_literals;

namespace {

using Clock = ShortLived::Clock;

// Threads that connect, on a clock of their own, and the sockets that they keep.
struct Bed {
  ShortLived policy;
  Clock::time_point now = Clock::now();
  std::set<std::uint64_t> open;
  std::uint64_t last_cookie = 0;
  int told = 0;

  const Endpoint server{*parse_address("198.18.0.2"), 80};
  const IpAddress client = *parse_address("198.18.0.3");

  struct Thread {
    pid_t tid = 1;
    Clock::duration handling = 60us;
    Clock::duration exchange = 40us;  // and whatever else the program does
    Clock::duration in_kernel = 0us;  // how much more that is without an upgrade
    std::size_t held = 0;             // connections that it has open at any time
    bool far = false;
    std::vector<std::uint64_t> sockets{};
  };

  /// One connection of the thread. True: it was left to the kernel.
  bool connect(Thread& thread, std::optional<Endpoint> target = {}) {
    const Endpoint to = target.value_or(server);
    const auto trapped = now;
    const ShortLived::Socket socket{7, ++last_cookie};
    const auto ruling = policy.judge(thread.tid, to, trapped, socket, [&](const auto& sample) {
      return open.contains(sample.cookie);
    });
    if (ruling.tell) ++told;
    std::uint64_t cookie = socket.cookie;
    if (ruling.leave) {
      now += thread.in_kernel;
    } else {
      now += thread.handling;
      cookie = ++last_cookie;
      policy.note({thread.tid, to, {to, client, thread.far}, trapped, now, {7, cookie}});
    }
    open.insert(cookie);
    thread.sockets.push_back(cookie);
    if (thread.sockets.size() > thread.held) {
      open.erase(thread.sockets.front());
      thread.sockets.erase(thread.sockets.begin());
    }
    now += thread.exchange;
    return ruling.leave;
  }
  /// Of so many connections, how many were left to the kernel.
  int left_of(Thread& thread, int count) {
    int left = 0;
    for (int i = 0; i < count; ++i) left += connect(thread) ? 1 : 0;
    return left;
  }
};

}  // namespace

TEST_CASE("a thread that only connects is left to the kernel") {
  Bed bed;
  Bed::Thread thread;
  CHECK(bed.left_of(thread, 64) == 0);
  CHECK(bed.told == 0);
  CHECK(bed.left_of(thread, 10'000) == 10'000);
  CHECK(bed.told == 1);
  Bed other;
  Bed::Thread crowd{.held = 40};  // some at once, none for long
  CHECK(other.left_of(crowd, 1'000) == 1'000 - 64);
  Bed another;
  Bed::Thread many{.held = 200};
  CHECK(another.left_of(many, 10'000) == 10'000 - 256);
}

TEST_CASE("its descriptors are looked at now and then only") {
  Bed bed;
  Bed::Thread thread;
  CHECK(!bed.policy.leaves(1, bed.server, bed.now, 7));
  CHECK(bed.left_of(thread, 200) == 136);
  CHECK(bed.policy.leaves(1, bed.server, bed.now, 7));
  CHECK(!bed.policy.leaves(1, bed.server, bed.now, 8));  // not seen
  CHECK(!bed.policy.leaves(2, bed.server, bed.now, 7));
  CHECK(!bed.policy.leaves(1, {bed.server.address, 81}, bed.now, 7));
  bed.policy.changed();
  CHECK(!bed.policy.leaves(1, bed.server, bed.now, 7));
  CHECK(bed.connect(thread));
  CHECK(bed.policy.leaves(1, bed.server, bed.now, 7));
  int asked = 0;
  for (int i = 0; i < 640; ++i) {
    bed.now += 40us;
    if (bed.policy.leaves(1, bed.server, bed.now, 7)) continue;
    ++asked;
    CHECK(bed.connect(thread));
  }
  CHECK(asked == 10);
  CHECK(!bed.policy.leaves(1, bed.server, bed.now + 101ms, 7));
}

TEST_CASE("who has other things to do, or keeps what it gets, is not") {
  Bed bed;
  Bed::Thread busy{.tid = 1, .exchange = 130us};
  CHECK(bed.left_of(busy, 1'000) == 0);
  Bed::Thread pool{.tid = 2, .held = 100'000};
  CHECK(bed.left_of(pool, 10'000) == 0);
  Bed::Thread seldom{.tid = 3, .handling = 90ms, .exchange = 20ms};
  CHECK(bed.left_of(seldom, 1'000) == 0);
}

TEST_CASE("it ends with the first connection after a pause") {
  Bed bed;
  Bed::Thread thread;
  CHECK(bed.left_of(thread, 200) == 136);
  bed.now += 101ms;
  CHECK(bed.left_of(thread, 8) == 0);  // enough, for one that is known
  CHECK(bed.left_of(thread, 200) == 200);
  Bed::Thread another{.tid = 2};
  CHECK(bed.left_of(another, 200) == 192);
  bed.now += 61s;
  CHECK(bed.left_of(thread, 200) == 136);
}

TEST_CASE("one that is of another kind than it was is not known any more") {
  Bed bed;
  Bed::Thread thread;
  CHECK(bed.left_of(thread, 200) == 136);
  bed.now += 101ms;
  SUBCASE("it keeps what it gets") {
    thread.held = 20;
    CHECK(bed.left_of(thread, 16) == 0);
  }
  SUBCASE("it has other things to do") {
    thread.exchange = 130us;
    CHECK(bed.left_of(thread, 16) == 0);
  }
  SUBCASE("another thread keeps what it gets") {
    Bed::Thread pool{.tid = 2, .held = 100'000};
    CHECK(bed.left_of(pool, 16) == 0);
  }
  bed.now += 101ms;
  Bed::Thread fresh{.tid = 3};
  CHECK(bed.left_of(fresh, 200) == 136);
}

TEST_CASE("it ends when connections are kept") {
  Bed bed;
  Bed::Thread thread;
  CHECK(bed.left_of(thread, 200) == 136);
  thread.held = 100'000;
  CHECK(bed.left_of(thread, 1'000) <= 128);
}

TEST_CASE("it ends where it is no faster, and is not tried again at once") {
  Bed bed;
  Bed::Thread thread{.in_kernel = 70us};
  CHECK(bed.left_of(thread, 64 + 192) == 192);
  CHECK(bed.left_of(thread, 1'000) == 0);
  bed.now += 1s;
  CHECK(bed.left_of(thread, 500) > 0);
  bed.left_of(thread, 500);
  bed.now += 1s;
  CHECK(bed.left_of(thread, 500) == 0);  // longer than before
}

TEST_CASE("a slow moment does not end it") {
  Bed bed;
  Bed::Thread thread;
  CHECK(bed.left_of(thread, 200) == 136);
  bed.now += 50ms;
  CHECK(bed.left_of(thread, 1'000) == 1'000);
}

TEST_CASE("time with other servers does not count") {
  Bed bed;
  Bed::Thread thread;
  const Endpoint other{*parse_address("198.18.0.4"), 80};
  int left = 0;
  for (int i = 0; i < 500; ++i) {
    left += bed.connect(thread) ? 1 : 0;
    left += bed.connect(thread, other) ? 1 : 0;
  }
  CHECK(left == 2 * (500 - 64));
}

TEST_CASE("a server of another node is told again and again") {
  Bed bed;
  Bed::Thread thread{.exchange = 940us, .in_kernel = 0us, .far = true};
  thread.handling = 1ms;
  CHECK(bed.left_of(thread, 64) == 0);
  CHECK(bed.left_of(thread, 2'000) == 2'000);
  CHECK(bed.told == 4);
}

TEST_CASE("servers of other nodes hear no offers, or one that they wait for") {
  Bed bed;
  Bed::Thread one{.tid = 1, .far = true};
  Bed::Thread two{.tid = 2, .far = true};
  CHECK(bed.left_of(one, 200) == 136);
  CHECK(!bed.connect(two));
  CHECK(!bed.connect(one));  // its own turn ended with that
  CHECK(bed.left_of(one, 1'000) == 0);
  bed.now += 2s;
  CHECK(bed.left_of(one, 200) == 192);

  // Two that are of one kind do not hinder one another.
  bed.now += 2s;
  one.exchange = two.exchange = 10us;  // each waits while the other one has its turn
  int left = 0;
  for (int i = 0; i < 500; ++i) {
    left += bed.connect(one) ? 1 : 0;
    left += bed.connect(two) ? 1 : 0;
  }
  CHECK(left > 600);
}

TEST_CASE("who would have offered in vain is not kept from it again") {
  for (const bool far : {false, true}) {
    Bed bed;
    Bed::Thread one{.tid = 1, .far = far};
    CHECK(bed.left_of(one, 200) == 136);
    CHECK(bed.told == 1);
    CHECK(!bed.connect(one, Endpoint{bed.server.address, 81}));
    const pid_t two = 2;
    CHECK(!bed.policy.judge(two, bed.server, bed.now, {}, {}).leave);
    bed.policy.in_vain(two, bed.server, bed.now);
    bed.now += 2s;
    CHECK(bed.left_of(one, 200) == (far ? 0 : 192));
    CHECK(bed.told == 1);
    bed.now += 60s;
    CHECK(bed.left_of(one, 200) == 136);
    CHECK(bed.told == 2);
  }
}

TEST_CASE("what is remembered is bounded") {
  Bed bed;
  for (int tid = 1; tid <= 1'000; ++tid) {
    Bed::Thread thread{.tid = tid};
    bed.connect(thread);
    bed.now += 1us;
  }
  Bed::Thread thread{.tid = 5'000};
  CHECK(bed.left_of(thread, 200) == 136);
}
