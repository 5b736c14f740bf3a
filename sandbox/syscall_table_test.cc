#include "sandbox/syscall_table.h"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

using namespace shunt;
using namespace shunt::sandbox;

namespace {
const Trap* find(const std::vector<Trap>& list, std::string_view name) {
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const Trap& trap) { return trap.name == name; });
  return found == list.end() ? nullptr : &*found;
}
}  // namespace

TEST_CASE("every call is listed once") {
  std::set<int> numbers;
  std::set<std::string_view> names;
  for (const Row& row : syscall_table()) {
    CHECK(numbers.insert(row.number).second);
    CHECK(names.insert(row.name).second);
    CHECK(!row.effect.empty());
  }
  CHECK(find_row(__NR_connect) == 0U);
  CHECK(!find_row(__NR_write));
}

TEST_CASE("nothing on the data path is trapped") {
  const auto list = traps(config::Upgrade{});
  for (const char* name :
       {"read",    "write",      "readv",     "writev", "sendto",   "recvfrom", "sendmsg",
        "recvmsg", "epoll_wait", "epoll_ctl", "poll",   "close",    "dup",      "dup2",
        "fcntl",   "clone",      "socket",    "bind",   "shutdown", "splice",   "sendfile"})
    CHECK_MESSAGE(find(list, name) == nullptr, name);
}

TEST_CASE("options are trapped by level, and by name where only the name tells") {
  const auto list = traps(config::Upgrade{});
  const Trap* trap = find(list, "setsockopt");
  REQUIRE(trap != nullptr);
  const auto traps_pair = [&](std::uint32_t level, std::uint32_t name) {
    return std::any_of(trap->when.begin(), trap->when.end(), [&](const auto& set) {
      return std::all_of(set.begin(), set.end(), [&](const ArgTest& test) {
        return test.value == (test.index == 1 ? level : name);
      });
    });
  };
  CHECK(traps_pair(IPPROTO_TCP, 1));
  CHECK(traps_pair(SOL_SOCKET, SO_SNDBUF));
  CHECK(!traps_pair(SOL_SOCKET, SO_ERROR));
  CHECK(!traps_pair(SOL_SOCKET, SO_KEEPALIVE));
}

TEST_CASE("without upgrades nothing is trapped; io_uring is refused unless allowed") {
  config::Upgrade options;
  CHECK(find(traps(options), "io_uring_setup")->action == TrapAction::kNoSys);
  options.io_uring = config::IoUring::kAllow;
  CHECK(find(traps(options), "io_uring_setup") == nullptr);
  options.enabled = false;
  CHECK(traps(options).empty());
}

TEST_CASE("the table of support in the folder's README is the one the rows give") {
  std::ifstream file{SHUNT_SANDBOX_README};
  std::stringstream text;
  text << file.rdbuf();
  CHECK(text.str().find(support_table()) != std::string::npos);
}
