#include "shim/inspect/server.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <vector>

using namespace shunt;

namespace {

struct Folder {
  std::string path = "/tmp/shunt-inspect-XXXXXX";
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Folder() { ::rmdir(path.c_str()); }
  std::string socket() const { return path + "/pod"; }
};

struct Fixture {
  Folder folder;
  EventLoop loop;
  std::atomic<int> made = 0;
  std::thread::id maker;
  std::string everything = "everything";
  InspectServer server{loop,
                       {[] { return "head"; },
                        [this]() -> InspectServer::Document {
                          return [this] {
                            maker = std::this_thread::get_id();
                            ++made;
                            return everything;
                          };
                        }}};

  Fixture() { REQUIRE(server.listen(folder.socket())); }
  UniqueFd ask(InspectWish wish) {
    auto socket = connect_inspect(folder.socket(), wish);
    REQUIRE(socket);
    return std::move(*socket);
  }
  /// What comes until the end.
  std::string read(const UniqueFd& socket) {
    std::string text;
    std::vector<char> chunk(4096);
    while (true) {
      const ssize_t n = ::recv(socket.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
      if (n == 0) return text;
      if (n > 0) text.append(chunk.data(), static_cast<std::size_t>(n));
      if (n < 0) loop.run_once(1000);
    }
  }
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "everything is made by another thread, the head is not") {
  CHECK(read(ask(InspectWish::kHead)) == "head");
  CHECK(made == 0);
  CHECK(read(ask(InspectWish::kEverything)) == "everything");
  CHECK(made == 1);
  CHECK(maker != std::this_thread::get_id());
}

TEST_CASE_FIXTURE(Fixture, "a document that is larger than a socket's buffer") {
  everything.assign(5'000'000, 'x');
  everything += "end";
  CHECK(read(ask(InspectWish::kEverything)) == everything);
}

TEST_CASE_FIXTURE(Fixture, "many who ask at once, some of whom leave") {
  std::vector<UniqueFd> readers;
  for (int i = 0; i < 6; ++i) {
    readers.push_back(ask(InspectWish::kEverything));
    readers.push_back(ask(InspectWish::kHead));
    ask(InspectWish::kEverything);
  }
  // 16 are served at once; who comes then is turned away.
  int heads = 0;
  int wholes = 0;
  for (const UniqueFd& reader : readers) {
    const std::string text = read(reader);
    heads += text == "head";
    wholes += text == "everything";
    CHECK((text == "head" || text == "everything" || text.empty()));
  }
  CHECK(heads >= 5);
  CHECK(wholes >= 5);
  CHECK(read(ask(InspectWish::kEverything)) == "everything");
}

TEST_CASE("a server ends while a document is being made") {
  Folder folder;
  EventLoop loop;
  std::atomic<bool> begun = false;
  std::atomic<bool> ended = false;
  {
    InspectServer server{loop,
                         {[] { return ""; },
                          [&]() -> InspectServer::Document {
                            return [&] {
                              begun = true;
                              begun.notify_one();
                              ended = true;
                              return "text";
                            };
                          }}};
    REQUIRE(server.listen(folder.socket()));
    const auto socket = connect_inspect(folder.socket(), InspectWish::kEverything);
    REQUIRE(socket);
    loop.run_once(1000);
    begun.wait(false);
  }
  CHECK(ended);
  CHECK(!connect_inspect(folder.socket(), InspectWish::kHead));
}
