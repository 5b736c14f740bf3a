#include "sandbox/connects_in_hand.h"

#include <doctest/doctest.h>
#include <sys/ioctl.h>

#include <set>

using namespace shunt;
using namespace shunt::sandbox;

namespace {

/// Knows which calls still wait.
struct Kernel final : NotifyKernel {
  std::set<std::uint64_t> gone;
  Status sizes(seccomp_notif_sizes& sizes) override {
    sizes = {sizeof(seccomp_notif), sizeof(seccomp_notif_resp), sizeof(seccomp_data)};
    return Done{};
  }
  int receive(int, void*) override { return ENOENT; }
  int control(int, unsigned long request, void* argument) override {
    if (request != SECCOMP_IOCTL_NOTIF_ID_VALID) return 0;
    return gone.contains(*static_cast<std::uint64_t*>(argument)) ? -ENOENT : 0;
  }
};

struct Calls {
  Kernel kernel;
  std::shared_ptr<Container> container = std::make_shared<Container>(
      "c", std::move(*NotifyFd::adopt(UniqueFd{}, kernel)), config::Pair::kUnix);
  std::vector<std::uint64_t> again;
  ConnectsInHand hands{
      [this](const CallId& call, const ConnectsInHand::Arguments&) { again.push_back(call.id); }};

  CallId call(std::uint64_t id, pid_t tid) const { return {container, id, tid, 0, {}}; }
  ConnectsInHand::Hold take(std::uint64_t cookie, std::uint64_t id, pid_t tid, int number = 5) {
    return hands.take(cookie, call(id, tid), {static_cast<std::uint64_t>(number)});
  }
};

}  // namespace

TEST_CASE("one call has a socket, the others come again after it") {
  Calls calls;
  auto hold = calls.take(1, 100, 7);
  REQUIRE(hold);
  CHECK(!calls.take(1, 101, 8));
  CHECK(!calls.take(1, 102, 9));
  CHECK(calls.take(2, 103, 9));  // another socket
  CHECK(calls.again.empty());
  auto moved = std::move(hold);
  CHECK(!hold);
  moved.release();
  CHECK(calls.again == std::vector<std::uint64_t>{101, 102});
  moved.release();
  CHECK(calls.again.size() == 2);
  CHECK(calls.take(1, 101, 8));
}

TEST_CASE("a call that a signal ended is answered as the one that came after it") {
  Calls calls;
  auto hold = calls.take(1, 100, 7);
  CHECK(!hold.successor(calls.call(100, 7), 5));
  CHECK(!calls.take(1, 101, 8));     // another thread
  CHECK(!calls.take(1, 102, 7, 6));  // another descriptor, perhaps of another process
  CHECK(!hold.successor(calls.call(100, 7), 5));
  CHECK(!calls.take(1, 103, 7));
  calls.kernel.gone = {103};
  CHECK(!hold.successor(calls.call(100, 7), 5));
  CHECK(!calls.take(1, 104, 7));
  const auto next = hold.successor(calls.call(100, 7), 5);
  REQUIRE(next);
  CHECK(next->id == 104);
  hold.release();
  CHECK(calls.again == std::vector<std::uint64_t>{101, 102});
}
