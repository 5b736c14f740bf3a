#include "netstack/base/endpoint.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <future>

#include "netstack/base/move_function.h"
#include "netstack/base/socket_calls.h"

using namespace shunt;

namespace {
std::span<const std::byte> bytes(const SockAddress& address) {
  return std::as_bytes(std::span{&address.storage, 1}).first(address.length);
}

// On loopback: only a machine that is busy makes anybody wait for the handshake.
constexpr std::chrono::seconds kEnough{30};

UniqueFd listen_on_loopback(int backlog) {
  UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const SockAddress any = to_sockaddr(*parse_endpoint("127.0.0.1:0"), AF_INET);
  REQUIRE(::bind(listener.get(), any.get(), any.length) == 0);
  REQUIRE(::listen(listener.get(), backlog) == 0);
  return listener;
}

SockAddress address_of(const UniqueFd& listener) {
  return to_sockaddr(*local_endpoint(listener.get()), AF_INET);
}
}  // namespace

TEST_CASE("an endpoint survives the way through text and sockaddr") {
  for (const char* text : {"198.18.0.2:80", "[fd00::1]:443", "0.0.0.0:0"}) {
    const auto endpoint = parse_endpoint(text);
    REQUIRE(endpoint);
    CHECK(to_text(*endpoint) == text);
    const int family = is_v4(endpoint->address) ? AF_INET : AF_INET6;
    CHECK(from_sockaddr(bytes(to_sockaddr(*endpoint, family))) == endpoint);
  }
  for (const char* text : {"", "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "fd00::1:80x",
                           "[1.2.3.4]:80", "fd00::1:80", "1.2.3.4:80 "})
    CHECK_MESSAGE(!parse_endpoint(text), text);
}

TEST_CASE("IPv4 appears mapped to an AF_INET6 socket") {
  const auto endpoint = parse_endpoint("198.18.0.2:80");
  const SockAddress mapped = to_sockaddr(*endpoint, AF_INET6);
  CHECK(mapped.length == sizeof(sockaddr_in6));
  CHECK(from_sockaddr(bytes(mapped)) == endpoint);
}

TEST_CASE("a short, foreign or scoped sockaddr is no endpoint") {
  const SockAddress address = to_sockaddr(*parse_endpoint("198.18.0.2:80"), AF_INET);
  CHECK(!from_sockaddr(bytes(address).first(15)));
  CHECK(!from_sockaddr(bytes(address).first(1)));
  SockAddress scoped = to_sockaddr(*parse_endpoint("[fe80::1]:80"), AF_INET6);
  reinterpret_cast<sockaddr_in6*>(scoped.get())->sin6_scope_id = 2;
  CHECK(!from_sockaddr(bytes(scoped)));
  SockAddress other = address;
  other.storage.ss_family = AF_UNIX;
  CHECK(!from_sockaddr(bytes(other)));
}

TEST_CASE("loopback and unspecified are told in both families") {
  CHECK(is_loopback(*parse_address("127.1.2.3")));
  CHECK(is_loopback(*parse_address("::1")));
  CHECK(!is_loopback(*parse_address("10.0.0.1")));
  CHECK(is_unspecified(*parse_address("0.0.0.0")));
  CHECK(is_unspecified(*parse_address("::")));
  CHECK(!is_unspecified(*parse_address("::1")));
}

TEST_CASE("accept and connect do not wait on blocking sockets") {
  for (const auto way : {SocketCalls::Way::kBest, SocketCalls::Way::kTimer}) {
    SocketCalls calls{way};
    const UniqueFd listener = listen_on_loopback(8);
    const auto none = calls.accept(listener.get(), 0);
    REQUIRE(!none);
    CHECK(none.error().number == EAGAIN);

    const SockAddress there = address_of(listener);
    const UniqueFd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK(calls.connect(client.get(), there.get(), there.length, kEnough));
    const auto accepted = calls.accept(listener.get(), 0);
    REQUIRE(accepted);
    CHECK(remote_endpoint(accepted->get()) == local_endpoint(client.get()));
    const Status again = calls.connect(client.get(), there.get(), there.length, {});
    REQUIRE(!again);
    CHECK(again.error().number == EISCONN);
    const UniqueFd other{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    const auto started = calls.start_connect(other.get(), there.get(), there.length, kEnough);
    CHECK(started.error == EINPROGRESS);
    CHECK(started.established);
    CHECK(::connect(other.get(), there.get(), there.length) == 0);  // as after any such handshake
  }
}

TEST_CASE("a connect to somebody who takes nobody in ends as in progress") {
  for (const auto way : {SocketCalls::Way::kBest, SocketCalls::Way::kTimer}) {
    SocketCalls calls{way};
    const UniqueFd full = listen_on_loopback(0);
    const SockAddress there = address_of(full);
    int last = 0;
    std::array<UniqueFd, 4> clients;
    for (UniqueFd& client : clients) {
      client = UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
      const Status done =
          calls.connect(client.get(), there.get(), there.length, std::chrono::milliseconds{2});
      last = done ? 0 : done.error().number;
    }
    CHECK(last == EINPROGRESS);
  }
}

TEST_CASE("what one thread made does not wait in another one either") {
  SocketCalls calls{SocketCalls::Way::kTimer};
  const UniqueFd full = listen_on_loopback(0);
  const SockAddress there = address_of(full);
  std::array<UniqueFd, 4> clients;
  for (UniqueFd& client : clients)
    client = UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  auto last = std::async(std::launch::async, [&] {
    int error = 0;
    for (const UniqueFd& client : clients) {
      const Status done =
          calls.connect(client.get(), there.get(), there.length, std::chrono::milliseconds{2});
      error = done ? 0 : done.error().number;
    }
    return error;
  });
  const bool in_time = last.wait_for(std::chrono::seconds{10}) == std::future_status::ready;
  CHECK(in_time);
  if (!in_time)
    for (const UniqueFd& client : clients) ::shutdown(client.get(), SHUT_RDWR);  // lets it out
  CHECK(last.get() == EINPROGRESS);
}

TEST_CASE("a thread that gets no timer makes no call that could wait") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit none{0, 0};
    SocketCalls calls{SocketCalls::Way::kTimer};
    const UniqueFd listener = listen_on_loopback(8);
    const SockAddress there = address_of(listener);
    const UniqueFd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const bool refused =
        ::setrlimit(RLIMIT_SIGPENDING, &none) == 0 && !calls.ready() &&
        calls.accept(listener.get(), 0).error().number == ENOBUFS &&
        calls.connect(client.get(), there.get(), there.length, kEnough).error().number == ENOBUFS &&
        calls.start_connect(client.get(), there.get(), there.length, kEnough).error == ENOBUFS;
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("a callable may own what cannot be copied") {
  MoveFunction<int(int)> add{[held = std::make_unique<int>(4)](int more) { return *held + more; }};
  MoveFunction<int(int)> moved{std::move(add)};
  CHECK(!add);  // NOLINT(bugprone-use-after-move): emptiness is the claim
  CHECK(moved(3) == 7);
}
