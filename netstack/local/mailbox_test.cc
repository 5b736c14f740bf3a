#include "netstack/local/mailbox.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace shunt;
using namespace shunt::local;

namespace {

// Abstract names are the network namespace's: no other test may use this number.
std::uint64_t namespace_number() { return 1'000'000U + static_cast<std::uint64_t>(::getpid()); }

FastName connection(std::uint16_t client_port) {
  FastName name;
  name.client_netns = namespace_number();
  name.client = {*parse_address("198.18.0.2"), client_port};
  name.server = name.service = {*parse_address("198.18.0.3"), 80};
  return name;
}

UniqueFd offered(const FastName& name) {
  auto socket = offer(name, namespace_number(), PairKind::kUnix, 1U << 20U);
  REQUIRE(socket);
  return std::move(*socket);
}

char first_byte(int socket) {
  char byte = 0;
  REQUIRE(::recv(socket, &byte, 1, MSG_DONTWAIT) == 1);
  return byte;
}

}  // namespace

TEST_CASE("an offer is found by the addresses of its connection, in any order") {
  const auto mailbox = Mailbox::open(namespace_number(), 80, AF_INET, {});
  REQUIRE(mailbox);
  const FastName one = connection(40001);
  const FastName two = connection(40002);
  const UniqueFd first = offered(one);
  const UniqueFd second = offered(two);
  CHECK(!(*mailbox)->take(connection(40003).client, one.server));
  REQUIRE(::send(second.get(), "2", 1, 0) == 1);
  auto got = (*mailbox)->take(two.client, two.server);
  REQUIRE(got);
  CHECK(first_byte(got->socket.get()) == '2');
  CHECK(!(*mailbox)->take(two.client, two.server));
  CHECK((*mailbox)->take(one.client, one.server));
}

TEST_CASE("an end takes more in inside one pod than between two") {
  const auto mailbox = Mailbox::open(namespace_number(), 80, AF_INET, {});
  REQUIRE(mailbox);
  const auto room = [](const FastName& name) {
    const auto socket = offer(name, namespace_number(), PairKind::kUnix, 8U << 20U);
    REQUIRE(socket);
    int size = 0;
    socklen_t length = sizeof size;
    REQUIRE(::getsockopt(socket->get(), SOL_SOCKET, SO_SNDBUF, &size, &length) == 0);
    return size;
  };
  FastName name = connection(40007);
  CHECK(room(name) == 2 * (256 << 10));
  name.client.address = name.server.address;
  CHECK(room(name) == 2 * (2 << 20));
  name.client.address = *parse_address("127.0.0.1");
  name.server.address = name.service.address = *parse_address("127.0.0.2");
  CHECK(room(name) == 2 * (2 << 20));
}

TEST_CASE("a port that is used again while its fast connection lives makes a twin") {
  const auto mailbox = Mailbox::open(namespace_number(), 80, AF_INET, {});
  REQUIRE(mailbox);
  const FastName name = connection(40004);
  const UniqueFd first = offered(name);
  const UniqueFd second = offered(name);
  REQUIRE(::send(first.get(), "1", 1, 0) == 1);
  REQUIRE(::send(second.get(), "2", 1, 0) == 1);
  const auto one = (*mailbox)->take(name.client, name.server);
  const auto two = (*mailbox)->take(name.client, name.server);
  REQUIRE(one);
  REQUIRE(two);
  CHECK(first_byte(one->socket.get()) == '1');  // as their TCP connections come
  CHECK(first_byte(two->socket.get()) == '2');
}

TEST_CASE("a mailbox is gone with its listener, and what waits in it hangs up") {
  UniqueFd left;
  {
    const auto mailbox = Mailbox::open(namespace_number(), 80, AF_INET, {});
    REQUIRE(mailbox);
    left = offered(connection(40005));
    CHECK(peek(left.get()) == Peek::kSilent);
  }
  CHECK(peek(left.get()) != Peek::kSilent);
  const auto refused = offer(connection(40006), namespace_number(), PairKind::kUnix, 1U << 20U);
  REQUIRE(!refused);
  CHECK(refused.error().number == ECONNREFUSED);
}

TEST_CASE("a mailbox in which something lies cannot be shut, and a shut one takes nothing") {
  const auto mailbox = Mailbox::open(namespace_number(), 83, AF_INET, {});
  REQUIRE(mailbox);
  FastName name = connection(40011);
  name.server.port = name.service.port = 83;
  UniqueFd client = offered(name);
  CHECK(!(*mailbox)->shut());
  auto offer = (*mailbox)->take(name.client, name.server);
  REQUIRE(offer);
  const auto before = (*mailbox)->turns();
  CHECK((*mailbox)->shut());
  CHECK(!(*mailbox)->put({}, (*mailbox)->turns()));
  (*mailbox)->open_again();
  CHECK(!(*mailbox)->put({}, before));  // it may belong to what the kernel has handed out
  CHECK((*mailbox)->put(std::move(*offer), (*mailbox)->turns()));
  CHECK((*mailbox)->take_put(name.client, name.server));
}
