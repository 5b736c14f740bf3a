// Both halves of an upgrade across nodes, between two pods without programs: two network namespaces
// joined by a veth pair, and the window fabric. What is tested is who goes ahead when offer and
// connection meet in an unusual order. Needs root; says so without.
#include "sandbox/remote.h"

#include <poll.h>

#include <cstdlib>
#include <future>

#include "sandbox/test_support.h"

using namespace shunt;
using namespace shunt::sandbox;
using namespace shunt::sandbox::test;
using namespace std::chrono_literals;

namespace {

constexpr auto kClientAddress = "198.18.77.1";
constexpr auto kServerAddress = "198.18.77.2";

void run(const std::string& command) {
  CAPTURE(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

/// Two processes in namespaces that reach each other.
struct Joined {
  PodProcess client, server;
  Joined() {
    const auto in = [](const PodProcess& pod) { return std::to_string(pod.pid()); };
    const auto up = [&](const PodProcess& pod, const char* address) {
      run("nsenter --net=/proc/" + in(pod) + "/ns/net sh -c 'ip addr add " + address +
          "/24 dev eth0 && ip link set eth0 up'");
    };
    run("ip link add eth0 netns " + in(client) + " type veth peer name eth0 netns " + in(server));
    up(client, kClientAddress);
    up(server, kServerAddress);
  }
};

struct Nodes {
  Joined processes;
  Pod client{processes.client};
  Pod server{processes.server};
  std::string window;
  std::unique_ptr<Remote> from, to;
  UniqueFd listener;
  sockaddr_in at{};

  Nodes() {
    char folder[] = "/tmp/shunt-remote-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    window = folder;
    from = start(client);
    to = start(server);
    std::tie(listener, at) = server.listener(*parse_address(kServerAddress));
    meet();
  }
  ~Nodes() {
    from.reset();
    to.reset();
    std::filesystem::remove_all(window);
  }
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;

  std::unique_ptr<Remote> start(Pod& pod) const {
    RemoteOptions options;
    options.pod_id = "test";
    options.fabrics.enabled = {config::FabricName::kWindow};
    options.fabrics.window.directory = window;
    options.fabrics.wait = 2s;  // everything has a hundred times its time
    options.node_netns = std::move(*current_netns());
    options.nudge = [&pod] { pod.services().acceptor.nudge(); };
    auto remote = Remote::start(std::move(options), pod.network(), pod.services());
    REQUIRE(remote);
    pod.services().remote = remote->get();
    return std::move(*remote);
  }

  /// Both know each other, and there is a link.
  void meet() const {
    const auto linked = [](Remote& remote, const char* other) {
      return remote.state(*parse_address(other)) == control::State::kShunt;
    };
    const auto until = std::chrono::steady_clock::now() + 20s;
    while (!linked(*from, kServerAddress) || !linked(*to, kClientAddress)) {
      REQUIRE(std::chrono::steady_clock::now() < until);
      std::promise<void> told;
      from->discover(*parse_address(kServerAddress), [&told] { told.set_value(); });
      told.get_future().wait();
    }
    const auto usable = [](Remote& remote) {
      const RemoteView view = remote.view();
      return !view.peers.peers.empty() && !view.peers.peers[0].fabrics.empty() &&
             view.peers.peers[0].fabrics[0].state == "up";
    };
    while (!usable(*from) || !usable(*to)) REQUIRE(std::chrono::steady_clock::now() < until);
  }

  /// The kernel's connection of a program that is in connect(2).
  UniqueFd dial() {
    UniqueFd socket = client.socket();
    REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    return socket;
  }
  /// The rest of that connect(2): the offer. The call's id.
  std::uint64_t offer(const UniqueFd& socket) {
    local::FastName name;
    name.client_netns = client.network().netns();
    name.client = *local_endpoint(socket.get());
    name.server = name.service = *remote_endpoint(socket.get());
    const auto reply = client.call(
        [&](Call& call) {
          Established connection;
          connection.tcp = std::move(*call.guest.fetch(call.fd()));
          connection.cookie = *socket_cookie(socket.get());
          connection.target = name.server;
          connection.noted = client.services().notes.get(connection.cookie);
          connection.hold = client.services().connects.take(connection.cookie, call.identity, {});
          return from->connect(call, std::move(connection), name);
        },
        {static_cast<std::uint64_t>(socket.get())});
    REQUIRE(std::holds_alternative<Later>(reply));
    return client.last_id();
  }
};

bool is_tcp(int socket) {
  int protocol = 0;
  socklen_t length = sizeof protocol;
  ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &length);
  return protocol == IPPROTO_TCP;
}

/// Whether these bytes are the next that come, within a bound.
bool receives(int socket, std::string_view wanted) {
  std::string got(wanted.size(), '\0');
  std::size_t size = 0;
  while (size < wanted.size()) {
    pollfd entry{socket, POLLIN, 0};
    if (::poll(&entry, 1, 5000) != 1) return false;
    const ssize_t more = ::recv(socket, got.data() + size, got.size() - size, MSG_DONTWAIT);
    if (more <= 0) return false;
    size += static_cast<std::size_t>(more);
  }
  return got == wanted;
}

bool sends(int socket, std::string_view text) {
  return ::send(socket, text.data(), text.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

/// The client's program has `client`, and the server's `server`: both ends of one TCP connection.
void check_on_tcp(int client, int server) {
  CHECK(is_tcp(client));
  CHECK(is_tcp(server));
  CHECK(receives(server, "early"));
  CHECK(sends(client, " and late"));
  CHECK(receives(server, " and late"));
  CHECK(sends(server, "answer"));
  CHECK(receives(client, "answer"));
}

}  // namespace

TEST_CASE("across nodes both ends are replaced") {
  on_a_thread([] {
    Nodes nodes;
    const UniqueFd client = nodes.dial();
    REQUIRE(std::holds_alternative<Later>(nodes.server.accept(nodes.listener)));
    const std::uint64_t accept = nodes.server.last_id();
    const std::uint64_t connect = nodes.offer(client);
    const auto connected = nodes.client.kernel().take(connect);
    REQUIRE(connected);
    CHECK(connected->error == 0);
    CHECK(!is_tcp(client.get()));
    nodes.server.services().acceptor.nudge();
    const auto accepted = nodes.server.kernel().take(accept);
    REQUIRE(accepted);
    CHECK(!is_tcp(accepted->installed.get()));
    CHECK(sends(client.get(), "fast"));
    CHECK(receives(accepted->installed.get(), "fast"));
  });
}

// Another thread of the client need not wait for connect(2) to return before it writes. The server
// that has gone ahead with what it wrote must not get another connection afterwards.
TEST_CASE("across nodes data before the offer keeps a connection on TCP") {
  on_a_thread([] {
    Nodes nodes;
    const UniqueFd client = nodes.dial();
    UniqueFd server;

    SUBCASE("it is there when the connection is accepted") {
      REQUIRE(sends(client.get(), "early"));
      pollfd entry{nodes.listener.get(), POLLIN, 0};
      REQUIRE(::poll(&entry, 1, 5000) == 1);
      Reply accepted = nodes.server.accept(nodes.listener);
      // It may be accepted before the data arrives.
      if (auto* install = std::get_if<InstallFd>(&accepted)) {
        server = std::move(install->fd);
        install->after(Done{}, {});
      }
    }
    SUBCASE("it comes while the offer is waited for") {
      REQUIRE(std::holds_alternative<Later>(nodes.server.accept(nodes.listener)));
      REQUIRE(sends(client.get(), "early"));
    }
    const std::uint64_t accept = nodes.server.last_id();
    for (int attempt = 0; attempt < 500 && !server.valid(); ++attempt) {
      if (nodes.server.kernel().has(accept))
        server = std::move(nodes.server.kernel().take(accept)->installed);
      nodes.server.services().acceptor.nudge();
      std::this_thread::sleep_for(10ms);
    }
    REQUIRE(server.valid());

    const auto connected = nodes.client.kernel().take(nodes.offer(client));
    REQUIRE(connected);
    CHECK(connected->error == 0);
    CHECK(nodes.client.count(Path::kServerWentAhead) == 1);
    check_on_tcp(client.get(), server.get());
  });
}

// Taken out of the kernel's queue, and not yet marked as expected: nobody has gone ahead.
TEST_CASE("across nodes an offer waits for a connection that is being accepted") {
  on_a_thread([] {
    Nodes nodes;
    // One whose offer is refused as soon as it is looked at.
    const UniqueFd other = nodes.dial();
    const UniqueFd other_server{::accept4(nodes.listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    const auto mailbox =
        nodes.server.services().listeners.mailbox(ntohs(nodes.at.sin_port), AF_INET);
    REQUIRE(mailbox != nullptr);
    const Endpoint at = *remote_endpoint(other.get());
    REQUIRE(!nodes.to->go_ahead(*mailbox, *local_endpoint(other.get()), at));

    const UniqueFd client = nodes.dial();
    const Endpoint own = *local_endpoint(client.get());
    std::uint64_t connect = 0;
    UniqueFd server;
    {
      const Remote::Accepting accepting{nodes.to.get()};
      server = UniqueFd{::accept4(nodes.listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      REQUIRE(server.valid());
      connect = nodes.offer(client);
      // Offers are looked at in the order they come in, so when the later one is answered the
      // first one has been.
      REQUIRE(nodes.client.kernel().take(nodes.offer(other)));
      CHECK(nodes.client.count(Path::kServerWentAhead) == 1);
      CHECK(!nodes.client.kernel().has(connect));
      CHECK(nodes.to->expect(own, at));
    }
    REQUIRE(nodes.client.kernel().take(connect));
    CHECK(nodes.client.count(Path::kOverWindow) == 1);
    CHECK(nodes.to->take(*mailbox, own, at));
  });
}
