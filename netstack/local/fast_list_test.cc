#include "netstack/local/fast_list.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "netstack/local/fast_socket.h"
#include "netstack/local/mailbox.h"

using namespace shunt;
using namespace shunt::local;

namespace {

// Abstract names are the network namespace's: no other test may use these numbers.
std::uint64_t clients() { return 2'000'000U + static_cast<std::uint64_t>(::getpid()); }
std::uint64_t servers() { return 20'000'000U + static_cast<std::uint64_t>(::getpid()); }

FastName connection(std::uint16_t client_port) {
  FastName name;
  name.client_netns = clients();
  name.client = {*parse_address("198.18.0.2"), client_port};
  name.server = {*parse_address("fd00::3"), 80};
  name.service = {*parse_address("198.18.9.9"), 8080};
  name.server_family = AF_INET6;
  return name;
}

UniqueFd offered(const FastName& name) {
  auto socket = offer(name, servers(), PairKind::kUnix, 1U << 20U);
  REQUIRE(socket);
  return std::move(*socket);
}

std::uint32_t inode_of(const UniqueFd& socket) {
  struct stat status {};
  REQUIRE(::fstat(socket.get(), &status) == 0);
  return static_cast<std::uint32_t>(status.st_ino);
}

std::vector<FastEntry> listed(std::optional<std::uint64_t> netns) {
  auto entries = list_fast_sockets(netns);
  REQUIRE(entries);
  // Another test beside this one may have some of its own.
  std::erase_if(*entries, [](const FastEntry& entry) {
    return entry.netns != clients() && entry.netns != servers();
  });
  return std::move(*entries);
}

}  // namespace

TEST_CASE("each end is listed for the namespace that it belongs to") {
  const auto mailbox = Mailbox::open(servers(), 80, AF_INET6, {});
  REQUIRE(mailbox);
  const FastName taken = connection(40001);
  const FastName waiting = connection(40002);
  const UniqueFd client = offered(taken);
  const UniqueFd other = offered(waiting);
  const auto server = (*mailbox)->take(taken.client, taken.server);
  REQUIRE(server);
  REQUIRE(::send(client.get(), "12345", 5, 0) == 5);

  const auto of_client = listed(clients());
  REQUIRE(of_client.size() == 2);
  CHECK(std::is_sorted(of_client.begin(), of_client.end(),
                       [](auto& left, auto& right) { return left.inode < right.inode; }));
  for (const FastEntry& entry : of_client) {
    CHECK(entry.is_client);
    CHECK(entry.netns == clients());
    const bool first = entry.inode == inode_of(client);
    CHECK((first || entry.inode == inode_of(other)));
    CHECK(entry.name == (first ? taken : waiting));
    CHECK(entry.unread == 0);
    CHECK((entry.unsent != 0) == first);
  }

  const auto of_server = listed(servers());
  REQUIRE(!of_server.empty());
  const auto end = std::find_if(of_server.begin(), of_server.end(), [&](const FastEntry& entry) {
    return entry.inode == inode_of(server->socket);
  });
  REQUIRE(end != of_server.end());
  CHECK(!end->is_client);
  CHECK(end->netns == servers());
  CHECK(end->name == taken);
  CHECK(end->unread == 5);

  CHECK(listed(std::nullopt).size() == of_client.size() + of_server.size());
  CHECK(listed(1).empty());
}

TEST_CASE("a server's end whose client is gone is not listed") {
  const auto mailbox = Mailbox::open(servers(), 80, AF_INET6, {});
  REQUIRE(mailbox);
  const FastName name = connection(40003);
  UniqueFd client = offered(name);
  const auto server = (*mailbox)->take(name.client, name.server);
  REQUIRE(server);
  client = {};
  CHECK(listed(std::nullopt).empty());
}
