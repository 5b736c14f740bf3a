// The two programs are this process. Needs root; says so without.
#include "sandbox/more_room.h"

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>

#include "netstack/base/netns.h"
#include "netstack/base/unix_socket.h"
#include "netstack/local/fast_socket.h"
#include "netstack/local/mailbox.h"
#include "sandbox/holders.h"

using namespace shunt;
using namespace shunt::sandbox;

namespace {

constexpr std::size_t kMost = 8U << 20U;
constexpr int kLongMs = 20'000;  // for machines that are busy

/// A pair between two pods, whose network namespace is that of this process, and where supervisors
/// keep what they share.
struct Node {
  Node() : netns{std::move(*current_netns())}, inode{*netns_inode(netns.get())} {
    std::filesystem::create_directory(state);
    const auto port = static_cast<std::uint16_t>(::getpid() % 60000 + 1);
    const auto mailbox = local::Mailbox::open(inode, port, AF_INET, {});
    REQUIRE(mailbox);
    local::FastName name;
    name.client_netns = inode;
    name.client = {*parse_address("198.18.0.2"), 40001};
    name.server = name.service = {*parse_address("198.18.0.3"), port};
    auto offered = local::offer(name, inode, local::PairKind::kUnix, kMost);
    REQUIRE(offered);
    client = std::move(*offered);
    server = std::move((*mailbox)->take(name.client, name.server)->socket);
  }
  ~Node() { std::filesystem::remove_all(state); }

  const std::string state =
      (std::filesystem::temp_directory_path() / ("shunt-room-" + std::to_string(::getpid())))
          .string();
  UniqueFd netns;
  std::uint64_t inode;
  UniqueFd client;
  UniqueFd server;
};

void fill(int socket) {
  while (::send(socket, "x", 1, MSG_DONTWAIT) == 1) {
  }
}

bool gets_room(int socket) {
  pollfd entry{socket, POLLOUT, 0};
  return ::poll(&entry, 1, kLongMs) == 1;
}

bool has_root() {
  if (::geteuid() == 0) return true;
  MESSAGE("skipped: needs root");
  return false;
}

}  // namespace

TEST_CASE("two programs that write before they read go on") {
  if (!has_root()) return;
  const Node node;
  MoreRoom room{node.state, node.netns.get(), kMost};
  fill(node.client.get());
  fill(node.server.get());
  room.handed_out();
  CHECK(gets_room(node.client.get()));
  CHECK(gets_room(node.server.get()));
}

TEST_CASE("another supervisor goes on where one has ended") {
  if (!has_root()) return;
  const Node node;
  MoreRoom other{node.state, node.netns.get(), kMost};
  {
    MoreRoom first{node.state, node.netns.get(), kMost};
    first.handed_out();
    other.handed_out();
    fill(node.client.get());
    CHECK(gets_room(node.client.get()));
  }
  fill(node.server.get());
  CHECK(gets_room(node.server.get()));
}

TEST_CASE("an end on its way in a message is found where it arrives") {
  if (!has_root()) return;
  Node node;
  MoreRoom room{node.state, node.netns.get(), kMost};
  std::array<int, 2> way{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, way.data()) == 0);
  const UniqueFd from{way[0]};
  const UniqueFd to{way[1]};
  fill(node.client.get());
  REQUIRE(send_descriptor(from.get(), node.client.get()));
  node.client.reset();
  fill(node.server.get());
  room.handed_out();
  CHECK(gets_room(node.server.get()));  // so somebody has looked for both
  auto arrived = receive_descriptor(to.get());
  REQUIRE(arrived);
  CHECK(gets_room(arrived->get()));
}

TEST_CASE("sockets are found by whoever has them, and nothing of them is kept") {
  if (!has_root()) return;
  Node node;
  struct stat info {};
  REQUIRE(::fstat(node.client.get(), &info) == 0);
  const auto inode = static_cast<std::uint32_t>(info.st_ino);
  int calls = 0;
  bool right = true;
  const Holders::Found found = [&](std::uint32_t which, int socket) {
    ++calls;
    CHECK(which == inode);
    CHECK(socket != node.client.get());
    return right;
  };
  const auto enough = own_cpu_time() + std::chrono::seconds{5};
  Holders holders;
  CHECK(holders.descriptors_in(node.inode + 1) == 0);
  Holders::Inodes wanted{inode, 1};
  holders.find(node.inode + 1, wanted, enough, found);
  holders.find_elsewhere({node.inode}, wanted, enough, found);
  CHECK(calls == 0);
  holders.find(node.inode, wanted, own_cpu_time(), found);
  CHECK(calls == 0);  // there is no time
  right = false;      // another socket with that number: the right one may come
  holders.find(node.inode, wanted, enough, found);
  CHECK(calls > 0);
  CHECK(wanted.contains(inode));
  right = true;
  calls = 0;
  holders.find(node.inode, wanted, enough, found);
  CHECK(calls == 1);
  CHECK(wanted == Holders::Inodes{1});
  wanted = {inode};
  holders.find_elsewhere({node.inode + 1}, wanted, enough, found);
  CHECK(calls == 2);
  CHECK(wanted.empty());
  node.client.reset();
  char byte = 0;
  CHECK(::recv(node.server.get(), &byte, 1, 0) == 0);
}
