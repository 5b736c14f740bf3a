#include "netstack/local/node_table.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

using namespace shunt;
using namespace shunt::local;

namespace {
struct Directory {
  std::string path = "/tmp/shunt-node-table-XXXXXX";
  Directory() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Directory() { std::filesystem::remove_all(path); }
};
PodRecord record(const char* id, const char* address) {
  return {id, 7, 3, 4, {*parse_address(address)}};
}
}  // namespace

TEST_CASE("pods find each other by address, and are gone with their supervisor") {
  const Directory directory;
  auto first = std::move(*NodeTable::open(directory.path));
  {
    auto second = std::move(*NodeTable::open(directory.path));
    {
      const auto guard = first->lock();
      REQUIRE(first->put(record("a", "198.18.0.2")));
    }
    {
      const auto guard = second->lock();
      REQUIRE(second->put(record("b", "198.18.0.3")));
    }
    const auto found = first->find(*parse_address("198.18.0.3"));
    REQUIRE(found.size() == 1);
    CHECK(found[0]->record.pod_id == "b");
    CHECK(found[0]->supervisor == ::getpid());
    CHECK(first->find(*parse_address("198.18.0.9")).empty());
    CHECK(first->all().size() == 2);
  }
  CHECK(first->find(*parse_address("198.18.0.3")).empty());
}

TEST_CASE("the entry of a process that died is cleared by the next one") {
  const Directory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    auto table = std::move(*NodeTable::open(directory.path));
    const auto guard = table->lock();
    ::_exit(table->put(record("dead", "198.18.0.4")) ? 0 : 1);  // no destructor: as if killed
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  auto table = std::move(*NodeTable::open(directory.path));
  CHECK(table->find(*parse_address("198.18.0.4")).empty());
  const auto guard = table->lock();
  CHECK(table->pods().empty());
}

TEST_CASE("either the client decides about a connection or the server refuses it, never both") {
  const Directory directory;
  auto table = std::move(*NodeTable::open(directory.path));
  {
    const auto guard = table->lock();
    REQUIRE(table->put(record("a", "198.18.0.2")));
  }
  const std::size_t slot = table->own_slot();
  CHECK(!table->undecided(slot).any());

  const auto first = table->begin(0);
  const auto seen = table->undecided(slot);
  CHECK(seen.any());
  CHECK(!table->decided(seen));
  CHECK(table->commit(0, first));
  CHECK(table->decided(seen));
  table->refuse(seen);  // too late: it is decided

  const auto second = table->begin(0);
  CHECK(table->decided(seen));  // the next connection is another matter
  table->refuse(seen);
  CHECK(table->commit(0, second));

  const auto third = table->begin(0);
  table->refuse(table->undecided(slot));
  CHECK(!table->commit(0, third));
}

TEST_CASE("a listener is left to the kernel only while nobody decides") {
  const Directory directory;
  auto server = std::move(*NodeTable::open(directory.path));
  {
    const auto guard = server->lock();
    REQUIRE(server->put(record("server", "198.18.0.2")));
  }
  CHECK(server->nobody_decides());
  auto client = std::move(*NodeTable::open(directory.path));
  {
    const auto guard = client->lock();
    REQUIRE(client->put(record("client", "198.18.0.3")));
  }
  const auto ticket = client->begin(0);
  CHECK(!server->nobody_decides());  // a pod that came since the last look counts
  CHECK(client->commit(0, ticket));
  CHECK(server->nobody_decides());

  const std::size_t slot = server->own_slot();
  CHECK(!client->left_to_kernel(slot, 80));
  server->leave_to_kernel(80);
  CHECK(client->left_to_kernel(slot, 80));
  CHECK(!client->left_to_kernel(client->own_slot(), 80));
  CHECK(!client->left_to_kernel(slot, 81));
  const auto before = std::chrono::steady_clock::now();
  const IpAddress own = *parse_address("198.18.0.3");
  const std::uint16_t name = NodeTable::short_name(own);
  CHECK(name != NodeTable::short_name(*parse_address("198.18.0.4")));
  client->want(slot, 80, own);
  CHECK(server->wanted(80).at >= before);
  CHECK(server->wanted(80).at < std::chrono::steady_clock::now() + std::chrono::milliseconds{1});
  CHECK(server->wanted(80).by == name);
  CHECK(server->spared(80).by == 0);
  client->spare(slot, 80, own);
  CHECK(server->spared(80).at >= before);
  CHECK(server->spared(80).by == name);
  server->take_from_kernel(80);
  CHECK(!client->left_to_kernel(slot, 80));
}

TEST_CASE("where the file system is full there is an error, instead of a SIGBUS") {
  if (::geteuid() != 0) return;
  std::thread{[] {  // in a mount namespace of its own
    REQUIRE(::unshare(CLONE_NEWNS) == 0);
    REQUIRE(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    const Directory directory;
    REQUIRE(::mount("full", directory.path.c_str(), "tmpfs", 0, "size=8m") == 0);
    const std::string all = directory.path + "/all";
    const auto fill = [&] { std::ofstream{all} << std::string(16U << 20U, 'x') << std::flush; };
    fill();
    CHECK_FALSE(NodeTable::open(directory.path));
    std::filesystem::remove(all);
    auto first = NodeTable::open(directory.path);
    REQUIRE(first);
    fill();
    std::vector<std::unique_ptr<NodeTable>> tables;
    const auto put = [&] {
      tables.push_back(std::move(*NodeTable::open(directory.path)));
      const auto guard = tables.back()->lock();
      return static_cast<bool>(tables.back()->put(record("a", "198.18.0.2")));
    };
    std::size_t have = 0;  // as many as the pages have room for that are there
    while (put()) ++have;
    CHECK(have < 4);
    std::filesystem::remove(all);
    CHECK(put());
    CHECK((*first)->find(*parse_address("198.18.0.2")).size() == have + 1);
    ::umount2(directory.path.c_str(), MNT_DETACH);
  }}
      .join();
}
