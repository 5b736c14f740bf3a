#include "netstack/local/crowded_ends.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "netstack/local/fast_socket.h"
#include "netstack/local/mailbox.h"

using namespace shunt;
using namespace shunt::local;

namespace {

// Abstract names are the network namespace's: no other test may use these numbers.
std::uint64_t namespace_number() { return 2'000'000U + static_cast<std::uint64_t>(::getpid()); }
constexpr std::size_t kMost = 8U << 20U;

struct Pair {
  UniqueFd client;
  UniqueFd server;
};

Pair make_pair(std::uint64_t client_netns, std::uint16_t port) {
  const auto mailbox = Mailbox::open(namespace_number(), port, AF_INET, {});
  REQUIRE(mailbox);
  FastName name;
  name.client_netns = client_netns;
  name.client = {*parse_address("198.18.0.2"), 40001};
  name.server = name.service = {*parse_address("198.18.0.3"), port};
  auto client = offer(name, namespace_number(), PairKind::kUnix, kMost);
  REQUIRE(client);
  auto taken = (*mailbox)->take(name.client, name.server);
  REQUIRE(taken);
  const int size = 256 << 10;
  REQUIRE(::setsockopt(taken->socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0);
  return {std::move(*client), std::move(taken->socket)};
}

std::size_t fill(int socket, std::size_t size) {
  const std::vector<char> data(size);
  std::size_t count = 0;
  while (::send(socket, data.data(), size, MSG_DONTWAIT) > 0) ++count;
  return count;
}

std::uint32_t inode_of(int socket) {
  struct stat info {};
  REQUIRE(::fstat(socket, &info) == 0);
  return static_cast<std::uint32_t>(info.st_ino);
}

Look look() {
  auto diag = NetlinkSocket::open(NETLINK_SOCK_DIAG);
  REQUIRE(diag);
  auto seen = look_for_crowded(*diag);
  REQUIRE(seen);
  return std::move(*seen);
}

const CrowdedEnd* find(const Look& seen, int socket) {
  const std::uint32_t inode = inode_of(socket);
  for (const CrowdedEnd& end : seen.crowded)
    if (end.inode == inode) return &end;
  return nullptr;
}

bool is_stuck(const Look& before, const Look& after, int socket, std::size_t most = kMost) {
  const std::uint32_t inode = inode_of(socket);
  const auto stuck = find_stuck(before, after, most);
  return std::any_of(stuck.begin(), stuck.end(),
                     [&](const StuckEnd& end) { return end.inode == inode; });
}

bool writable(int socket) {
  pollfd entry{socket, POLLOUT, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & POLLOUT) != 0;
}

}  // namespace

TEST_CASE(
    "an end that small writes fill is stuck until it gets the room that it is found to need") {
  if (::geteuid() != 0) return;  // SO_SNDBUFFORCE
  const Pair pair = make_pair(namespace_number() + 1, 80);
  for (const bool server : {false, true}) {
    const int writer = (server ? pair.server : pair.client).get();
    CHECK(find(look(), writer) == nullptr);
    const std::size_t count = fill(writer, 1);
    CHECK(count < 1000);
    const Look before = look();
    CHECK(before.any);
    const CrowdedEnd* end = find(before, writer);
    REQUIRE(end != nullptr);
    CHECK(end->unread == count);
    CHECK(end->netns == namespace_number() + (server ? 0 : 1));

    const Look after = look();
    CHECK(is_stuck(before, after, writer));
    CHECK_FALSE(is_stuck(before, after, writer, 256U << 10U));  // has all that is allowed
    for (const StuckEnd& stuck : find_stuck(before, after, kMost)) {
      if (stuck.inode != inode_of(writer)) continue;
      const int size = static_cast<int>(stuck.send_buffer);
      CHECK_FALSE(writable(writer));
      REQUIRE(::setsockopt(writer, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0);
    }
    CHECK(writable(writer));
    CHECK(count + fill(writer, 1) > 20000);
  }
}

TEST_CASE("an end that something was read from meanwhile is not stuck") {
  if (::geteuid() != 0) return;
  const Pair pair = make_pair(namespace_number() + 1, 81);
  fill(pair.server.get(), 1);
  const Look before = look();
  char byte = 0;
  REQUIRE(::recv(pair.client.get(), &byte, 1, 0) == 1);
  CHECK_FALSE(is_stuck(before, look(), pair.server.get()));
}

TEST_CASE("an end that nobody has accepted yet can be stuck, too") {
  if (::geteuid() != 0) return;
  std::thread{[] {  // in a namespace of its own, where nothing else is
    REQUIRE(::unshare(CLONE_NEWNET) == 0);
    const auto mailbox = Mailbox::open(namespace_number(), 84, AF_INET, {});
    REQUIRE(mailbox);
    FastName name;
    name.client_netns = namespace_number() + 1;
    name.client = {*parse_address("198.18.0.2"), 40001};
    name.server = name.service = {*parse_address("198.18.0.3"), 84};
    auto client = offer(name, namespace_number(), PairKind::kUnix, kMost);
    REQUIRE(client);
    CHECK(look().any);
    CHECK(look().crowded.empty());
    fill(client->get(), 1);
    const auto stuck = find_stuck(look(), look(), kMost);
    REQUIRE(stuck.size() == 1);
    CHECK(stuck.front().inode == inode_of(client->get()));
    CHECK(stuck.front().netns == namespace_number() + 1);
    CHECK(stuck.front().send_buffer == kMost);
    // Accepted and closed, it is nobody's business any more.
    (*mailbox)->take(name.client, name.server).reset();
    CHECK_FALSE(look().any);
    CHECK(look().crowded.empty());
  }}
      .join();
}

TEST_CASE("connections over a fabric are left alone, and nobody looks on for their sake") {
  if (::geteuid() != 0) return;
  std::thread{[] {  // in a namespace of its own, where nothing else is
    REQUIRE(::unshare(CLONE_NEWNET) == 0);
    const Pair from_another_node = make_pair(0, 0);  // as Remote names them
    const Pair to_another_node = make_pair(namespace_number() + 1, 0);
    fill(from_another_node.client.get(), 1);
    fill(to_another_node.server.get(), 1);
    const Look seen = look();
    CHECK_FALSE(seen.any);
    CHECK(seen.crowded.empty());
    const Pair on_this_node = make_pair(namespace_number() + 1, 83);
    CHECK(look().any);
  }}
      .join();
}

TEST_CASE("what a stuck end gets holds what TCP takes, and wakes its writer") {
  const auto given = [](std::uint32_t unread, std::uint32_t in_use, std::uint32_t allowed) {
    Look seen;
    seen.crowded.push_back({1, unread, in_use, allowed, 7, false});
    const auto stuck = find_stuck(seen, seen, kMost);
    return stuck.empty() ? 0 : stuck.front().send_buffer;
  };
  CHECK(given(700, 525'000, 524'288) == kMost);
  CHECK(given(500'000, 525'000, 524'288) == (kTcpTakes * 525 / 500) / 2);
  CHECK(given(3'900'000, 4'200'000, 4'194'304) == 2 * 4'200'001);
  CHECK(given(kTcpTakes, 4'500'000, 4'500'000) == 0);
  CHECK(given(20'000, 17'000'000, 16'777'216) == 0);
  CHECK(find_stuck({}, {}, kMost).empty());
}
