#include "shim/ttrpc/server.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <map>

#include "shim/proto/ttrpc.pb.h"
#include "shim/socket.h"
#include "shim/ttrpc/client.h"
#include "shim/ttrpc/frame.h"

using namespace shunt;
using namespace shunt::ttrpc;
using namespace std::chrono_literals;

namespace {

struct Folder {
  std::string path = "/tmp/shunt-ttrpc-XXXXXX";
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Folder() {
    ::unlink(socket().c_str());
    ::rmdir(path.c_str());
  }
  std::string socket() const { return path + "/s"; }
};

// A server whose method decides: "echo" answers at once, "hold" when told to, "drop" never.
struct Fixture {
  EventLoop loop;
  Folder folder;
  std::map<std::string, Responder> held;
  std::unique_ptr<Server> server;

  Fixture() { restart(); }
  void restart() {
    held.clear();
    server.reset();
    auto claimed = claim_socket(folder.socket());
    REQUIRE(claimed);
    server = std::make_unique<Server>(loop, std::move(claimed->listener),
                                      [this](Call call, Responder respond) {
                                        if (call.method == "echo")
                                          respond(call.payload);
                                        else if (call.method == "fail")
                                          respond(not_found("thing"));
                                        else if (call.method == "huge")
                                          respond(std::string(kMaxPayload, 'x'));
                                        else if (call.method == "hold")
                                          held.emplace(call.payload, std::move(respond));
                                      });
  }
  Answer<std::string> call(Client& client, std::string method, std::string payload,
                           std::chrono::nanoseconds timeout = 60s) {
    std::optional<Answer<std::string>> got;
    const auto ask = [](Client& on, std::string name, std::string body,
                        std::chrono::nanoseconds limit,
                        std::optional<Answer<std::string>>& out) -> Co<void> {
      out = co_await on.call("s", name, body, limit);
    };
    spawn(ask(client, std::move(method), std::move(payload), timeout, got));
    while (!got) loop.run_once(1000);
    return *got;
  }
};

// Speaks raw frames, as a hostile client would.
struct RawClient {
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  FrameReader reader;
  explicit RawClient(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  void send(const std::string& bytes) const {
    REQUIRE(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  wire::Response receive(EventLoop& loop) {
    while (true) {
      if (auto frame = reader.next()) {
        wire::Response response;
        REQUIRE(response.ParseFromString(frame->payload));
        return response;
      }
      loop.run_once(10);
      std::array<char, 4096> bytes{};
      const ssize_t n = ::recv(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      REQUIRE(n != 0);
      if (n > 0) reader.feed({bytes.data(), static_cast<std::size_t>(n)});
    }
  }
};

std::string request_frame(std::uint32_t stream, const std::string& method) {
  wire::Request request;
  request.set_service("s");
  request.set_method(method);
  std::string bytes;
  append_frame(bytes, stream, FrameType::kRequest, request.SerializeAsString());
  return bytes;
}

}  // namespace

TEST_CASE("calls are answered, errors keep their code and text") {
  Fixture fixture;
  Client client{fixture.loop, fixture.folder.socket()};
  CHECK(*fixture.call(client, "echo", "hello") == "hello");
  CHECK(fixture.call(client, "echo", "")->empty());
  const auto failed = fixture.call(client, "fail", "");
  CHECK(failed.error().code == Code::kNotFound);
  CHECK(failed.error().message == "thing: not found");
}

TEST_CASE("a call nobody answers ends with the connection's own error, not in silence") {
  Fixture fixture;
  Client client{fixture.loop, fixture.folder.socket()};
  CHECK(fixture.call(client, "drop", "").error().code == Code::kInternal);
  CHECK(fixture.call(client, "huge", "").error().code == Code::kResourceExhausted);
}

TEST_CASE("a thousand calls wait at once and are answered in any order") {
  Fixture fixture;
  Client client{fixture.loop, fixture.folder.socket()};
  int answered = 0;
  const auto ask = [](Client& on, std::string name, int& count) -> Co<void> {
    const auto answer = co_await on.call("s", "hold", name, 60s);
    count += answer && *answer == name ? 1 : 0;
  };
  for (int i = 0; i < 1000; ++i) spawn(ask(client, std::to_string(i), answered));
  while (fixture.held.size() < 1000) fixture.loop.run_once(1000);
  for (auto it = fixture.held.rbegin(); it != fixture.held.rend(); ++it) {
    const std::string name = it->first;
    it->second(name);
  }
  while (answered < 1000) fixture.loop.run_once(1000);  // NOLINT(bugprone-infinite-loop)
  CHECK(answered == 1000);
}

TEST_CASE("a timeout ends the call on both sides, and the late answer is dropped") {
  Fixture fixture;
  Client client{fixture.loop, fixture.folder.socket()};
  CHECK(fixture.call(client, "hold", "x", 5ms).error().code == Code::kDeadlineExceeded);
  // The client may have given up before the server had a look.
  while (!fixture.held.contains("x")) fixture.loop.run_once(10);
  while (fixture.held.at("x").wanted()) fixture.loop.run_once(10);
  fixture.held.at("x")(std::string{"late"});
  CHECK(*fixture.call(client, "echo", "still here") == "still here");
}

TEST_CASE("a client finds its server again after it went away") {
  Fixture fixture;
  Client client{fixture.loop, fixture.folder.socket()};
  CHECK(*fixture.call(client, "echo", "1") == "1");
  fixture.server.reset();
  fixture.loop.run_once(10);
  CHECK(fixture.call(client, "echo", "2").error().code == Code::kUnavailable);
  fixture.restart();
  CHECK(*fixture.call(client, "echo", "3") == "3");
}

TEST_CASE("hostile frames are refused one by one and the connection goes on") {
  Fixture fixture;
  RawClient raw{fixture.folder.socket()};
  raw.send(request_frame(2, "echo"));
  CHECK(raw.receive(fixture.loop).status().code() == static_cast<int>(Code::kInvalidArgument));
  raw.send(request_frame(5, "echo"));
  CHECK(raw.receive(fixture.loop).status().code() == 0);
  raw.send(request_frame(3, "echo"));  // ids must grow
  CHECK(raw.receive(fixture.loop).status().code() == static_cast<int>(Code::kInvalidArgument));
  std::string garbage;
  append_frame(garbage, 7, FrameType::kRequest, "\xff\xff\xff\xff");
  raw.send(garbage);
  CHECK(raw.receive(fixture.loop).status().code() == static_cast<int>(Code::kInvalidArgument));
  std::string streaming = request_frame(9, "echo");
  streaming[9] = kFlagRemoteOpen;
  raw.send(streaming);
  CHECK(raw.receive(fixture.loop).status().code() == static_cast<int>(Code::kUnimplemented));
  std::string unknown_type = request_frame(11, "echo");
  unknown_type[8] = 42;
  raw.send(unknown_type);  // ignored
  raw.send(request_frame(13, "echo"));
  CHECK(raw.receive(fixture.loop).status().code() == 0);
}

TEST_CASE("a client that leaves takes its waiting calls with it") {
  Fixture fixture;
  {
    RawClient raw{fixture.folder.socket()};
    raw.send(request_frame(1, "hold"));
    while (fixture.held.empty()) fixture.loop.run_once(1000);
    CHECK(fixture.held.begin()->second.wanted());
  }
  while (fixture.server->connections() > 0) fixture.loop.run_once(1000);
  CHECK_FALSE(fixture.held.begin()->second.wanted());
  fixture.held.begin()->second(std::string{"nobody"});
}

TEST_CASE("one shim owns a socket; a dead one's file is replaced") {
  const Folder folder;
  auto first = claim_socket(folder.socket());
  REQUIRE(first);
  CHECK(first->listener.valid());
  auto second = claim_socket(folder.socket());
  REQUIRE(second);
  CHECK_FALSE(second->listener.valid());
  first->listener.reset();
  auto third = claim_socket(folder.socket());
  REQUIRE(third);
  CHECK(third->listener.valid());
  struct stat status {};
  REQUIRE(::stat(folder.socket().c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(socket_path("/run/containerd/containerd.sock", "k8s.io", "pod", "") ==
        "/run/containerd/s/b9cab8e84f817f3c3bb561c7ea8dcbfba051d5d8f56ec2c3f204bc387d13f7d0");
}
