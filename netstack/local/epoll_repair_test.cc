#include "netstack/local/epoll_repair.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netstack/base/unique_fd.h"

using namespace shunt;
using namespace shunt::local;

namespace {

/// While it lives no thread can be made, as where the system has no room for more.
class NoThreads {
 public:
  NoThreads() {
    ::pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    ::pthread_attr_init(&huge);
    ::pthread_attr_setstacksize(&huge, std::size_t{1} << 46U);
    ::pthread_setattr_default_np(&huge);
    ::pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    ::pthread_setattr_default_np(&before_);
    ::pthread_attr_destroy(&before_);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t before_{};
};

}  // namespace

TEST_CASE("a registration is made again, or the caller hears that there is no room for a thread") {
  const UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  const UniqueFd old{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 4711;
  REQUIRE(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, old.get(), &event) == 0);
  const auto entries = find_registrations(::gettid(), find_epolls(::gettid()), old.get());
  REQUIRE(entries.size() == 1);
  CHECK(entries.front().data == 4711);

  const UniqueFd fresh{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  {
    const NoThreads none;
    const Status moved = register_again(::gettid(), entries, old.get(), fresh.get());
    REQUIRE_FALSE(moved);
    CHECK(moved.error().number == EAGAIN);
  }
  REQUIRE(register_again(::gettid(), entries, old.get(), fresh.get()));
  REQUIRE(::dup3(fresh.get(), old.get(), O_CLOEXEC) >= 0);
  epoll_event seen{};
  REQUIRE(::epoll_wait(epoll.get(), &seen, 1, 0) == 1);  // HUP: it is not connected
  CHECK(std::uint64_t{seen.data.u64} == 4711);
}
