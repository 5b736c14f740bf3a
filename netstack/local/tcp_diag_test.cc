#include "netstack/local/tcp_diag.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "netstack/base/unix_socket.h"

namespace shunt::local {
namespace {

std::uint32_t inode_of(int socket) {
  struct stat info {};
  REQUIRE(::fstat(socket, &info) == 0);
  return static_cast<std::uint32_t>(info.st_ino);
}

Endpoint own_of(int socket) {
  SockAddress address;
  address.length = sizeof address.storage;
  REQUIRE(::getsockname(socket, address.get(), &address.length) == 0);
  return from_sockaddr(address.bytes()).value();
}

}  // namespace

TEST_CASE("the kernel tells of a connection who holds it and what lies in its queues") {
  const UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const SockAddress anywhere = to_sockaddr({*parse_address("127.0.0.1"), 0}, AF_INET);
  REQUIRE(::bind(listener.get(), anywhere.get(), anywhere.length) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  const Endpoint server = own_of(listener.get());
  const UniqueFd caller{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const SockAddress there = to_sockaddr(server, AF_INET);
  REQUIRE(::connect(caller.get(), there.get(), there.length) == 0);
  const Endpoint client = own_of(caller.get());

  auto diag = TcpDiag::open();
  REQUIRE(diag);
  auto waiting = diag->find(server, client);
  REQUIRE(waiting);
  REQUIRE(*waiting);
  CHECK((*waiting)->established);
  CHECK((*waiting)->inode == 0);

  const UniqueFd accepted{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  auto taken = diag->find(server, client);
  REQUIRE(taken);
  REQUIRE(*taken);
  CHECK((*taken)->inode == inode_of(accepted.get()));

  constexpr std::string_view kText = "hello";
  REQUIRE(::send(caller.get(), kText.data(), kText.size(), 0) == 5);
  auto queues = diag->queues();
  REQUIRE(queues);
  CHECK(queues->at(inode_of(accepted.get())).unread == kText.size());
  CHECK(queues->at(inode_of(caller.get())).unread == 0);
  CHECK_FALSE(queues->contains(inode_of(listener.get())));
}

TEST_CASE("a connection is reset from outside, whoever has it, and no other one") {
  if (::geteuid() != 0) return;
  for (const int family : {AF_INET, AF_INET6}) {
    const char* const host = family == AF_INET ? "127.0.0.1" : "::1";
    const UniqueFd listener{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const SockAddress anywhere = to_sockaddr({*parse_address(host), 0}, family);
    REQUIRE(::bind(listener.get(), anywhere.get(), anywhere.length) == 0);
    REQUIRE(::listen(listener.get(), 1) == 0);
    const Endpoint server = own_of(listener.get());
    const UniqueFd caller{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const SockAddress there = to_sockaddr(server, family);
    REQUIRE(::connect(caller.get(), there.get(), there.length) == 0);
    const Endpoint client = own_of(caller.get());
    const UniqueFd accepted{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};

    std::uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    REQUIRE(::getsockopt(caller.get(), SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0);
    auto diag = TcpDiag::open();
    REQUIRE(diag);
    CHECK_FALSE(diag->reset(client, server, cookie + 1));
    const Status done = diag->reset(client, server, cookie);
    if (!done && done.error().number == EOPNOTSUPP) return;  // a kernel without
    REQUIRE(done);
    char byte = 0;
    CHECK(::recv(accepted.get(), &byte, 1, 0) < 0);
    CHECK(errno == ECONNRESET);
    CHECK(::recv(caller.get(), &byte, 1, 0) < 0);
    CHECK(errno == ECONNABORTED);
  }
}

}  // namespace shunt::local
