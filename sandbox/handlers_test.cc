// The handlers of connect(2) and accept(2) in a pod without programs. Needs root; says so without.
#include <poll.h>

#include "sandbox/test_support.h"

using namespace shunt;
using namespace shunt::sandbox;
using namespace shunt::sandbox::test;

TEST_CASE("connect(2)") {
  in_a_pod([](Pod& pod) {
    const UniqueFd client = pod.socket();

    // What is not ours to judge runs in the kernel.
    CHECK(std::holds_alternative<RunInKernel>(pod.call(on_connect, {0, 64, 1})));
    CHECK(std::holds_alternative<RunInKernel>(pod.call(on_connect, {0, ~0ULL, 16})));
    CHECK(std::holds_alternative<RunInKernel>(pod.connect(client, address("1.1.1.1", 80))));
    CHECK(pod.count(Path::kNoCandidate) == 1);
    CHECK(std::holds_alternative<RunInKernel>(
        pod.connect(UniqueFd{::open("/dev/null", O_RDONLY)}, address("127.0.0.1", 80))));

    // Of a socket of another namespace, whatever its number.
    const UniqueFd foreign{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK(std::holds_alternative<Fail>(pod.connect(foreign, address("127.0.0.1", 80))));

    // Nobody listens.
    const Reply refused = pod.connect(client, address("127.0.0.1", 9));
    REQUIRE(std::holds_alternative<Fail>(refused));
    CHECK(std::get<Fail>(refused).number == ECONNREFUSED);

    // A caller that has gone meanwhile: its descriptor's number may be somebody else's by now.
    auto [listener, at] = pod.listener();
    pod.guest().alive = false;
    CHECK(std::holds_alternative<RunInKernel>(pod.connect(client, at)));
    CHECK(!remote_endpoint(client.get()));
    pod.guest().alive = true;

    // Established, and replaced by one that is named like it.
    const UniqueFd upgraded = pod.socket();
    Reply fast = pod.connect(upgraded, at);
    REQUIRE(std::holds_alternative<ReplaceFd>(fast));
    const auto& replacement = std::get<ReplaceFd>(fast);
    CHECK(replacement.error == 0);
    CHECK(static_cast<int>(replacement.number) == upgraded.get());
    const auto named = local::identify(replacement.fd.get(), pod.network().private_cookie());
    REQUIRE(named);
    CHECK(named->is_client);
    CHECK(named->local() == *local_endpoint(upgraded.get()));
    CHECK(named->remote() == *from_sockaddr(std::as_bytes(std::span{&at, 1})));
  });
}

// A signal ends a call, and it comes again while its first answer is being found.
TEST_CASE("connect(2) is answered by one thread at a time for a socket") {
  in_a_pod([](Pod& pod) {
    auto [listener, at] = pod.listener();
    const UniqueFd client = pod.socket();
    const UniqueFd other = pod.socket();
    std::optional<Reply> second;
    std::optional<Reply> third;
    std::uint64_t second_id = 0;
    pod.guest().meanwhile = [&, &to = at] {
      second = pod.connect(client, to);
      second_id = pod.last_id();
      CHECK(pod.again().empty());
      third = pod.connect(other, to);
    };
    std::optional<Reply> first = pod.connect(client, at);
    CHECK(std::holds_alternative<ReplaceFd>(*first));
    // The other call waits, and comes again when the first one has been answered.
    CHECK(std::holds_alternative<Later>(*second));
    CHECK(pod.again().empty());
    first.reset();
    CHECK(pod.again() == std::vector{second_id});
    CHECK(std::holds_alternative<ReplaceFd>(*third));
    CHECK(pod.count(Path::kUnusualOption) == 0);
    // Then the socket is connected already: the kernel's answer is right.
    CHECK(std::holds_alternative<RunInKernel>(pod.connect(client, at)));
    CHECK(pod.again().size() == 1);
  });
}

TEST_CASE("connect(2) that stays on TCP answers as TCP") {
  in_a_pod([](Pod& pod) {
    const UniqueFd listener = pod.socket();  // nobody saw its listen(2)
    sockaddr_in at = address("127.0.0.1", 0);
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(listener.get(), 8) == 0);
    at.sin_port = htons(local_endpoint(listener.get())->port);

    const Reply blocking = pod.connect(pod.socket(), at);
    REQUIRE(std::holds_alternative<Return>(blocking));
    CHECK(std::get<Return>(blocking).value == 0);

    const UniqueFd client = pod.socket();
    REQUIRE(::fcntl(client.get(), F_SETFL, O_NONBLOCK) == 0);
    pod.guest().flags_of_all = O_NONBLOCK;
    const Reply nonblocking = pod.connect(client, at);
    REQUIRE(std::holds_alternative<Fail>(nonblocking));
    CHECK(std::get<Fail>(nonblocking).number == EINPROGRESS);
    CHECK(pod.count(Path::kNotPublished) == 2);

    // What a fast socket could not honour is not even tried.
    pod.guest().flags_of_all = 0;
    const UniqueFd marked = pod.socket();
    const int mark = 7;
    REQUIRE(::setsockopt(marked.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0);
    CHECK(std::holds_alternative<RunInKernel>(pod.connect(marked, at)));
    CHECK(pod.count(Path::kUnusualOption) == 1);
  });
}

TEST_CASE("connect(2) to where no pod of this node is asks once") {
  in_a_pod([](Pod& pod) {
    const Endpoint outside{*parse_address("10.9.8.7"), 80};
    CHECK(pod.network().reach(outside) == PodNetwork::Reach::kPerhaps);
    pod.network().remember_outside(outside);
    CHECK(pod.network().reach(outside) == PodNetwork::Reach::kOutside);
    CHECK(pod.network().reach({outside.address, 81}) == PodNetwork::Reach::kPerhaps);
    CHECK(std::holds_alternative<RunInKernel>(pod.connect(pod.socket(), address("10.9.8.7", 80))));
    CHECK(pod.count(Path::kNoLocalPod) == 1);
    CHECK(pod.network().reach({*parse_address("127.0.0.1"), 80}) == PodNetwork::Reach::kYes);
  });
}

TEST_CASE("accept(2)") {
  in_a_pod([](Pod& pod) {
    const UniqueFd plain = pod.socket();
    CHECK(std::holds_alternative<RunInKernel>(pod.accept(plain)));  // EINVAL is the kernel's word
    auto [listener, at] = pod.listener();

    // Nothing there.
    REQUIRE(::fcntl(listener.get(), F_SETFL, O_NONBLOCK) == 0);
    const Reply nothing = pod.accept(listener);
    REQUIRE(std::holds_alternative<Fail>(nothing));
    CHECK(std::get<Fail>(nothing).number == EAGAIN);
    REQUIRE(::fcntl(listener.get(), F_SETFL, 0) == 0);
    CHECK(std::holds_alternative<Later>(pod.accept(listener)));

    // A client that nobody supervises gets TCP.
    const UniqueFd client = pod.socket();
    REQUIRE(::connect(client.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    Reply kernel = pod.accept(listener);
    REQUIRE(std::holds_alternative<InstallFd>(kernel));
    CHECK(remote_endpoint(std::get<InstallFd>(kernel).fd.get()) == local_endpoint(client.get()));

    // One that is upgraded gets the other end of its new socket, once it has it.
    const UniqueFd upgraded = pod.socket();
    Reply fast = pod.connect(upgraded, at);
    REQUIRE(std::holds_alternative<ReplaceFd>(fast));
    auto& replacement = std::get<ReplaceFd>(fast);
    REQUIRE(::send(replacement.fd.get(), "x", 1, 0) == 1);
    Reply accepted = pod.accept(listener);
    REQUIRE(std::holds_alternative<InstallFd>(accepted));
    char byte = 0;
    CHECK(::recv(std::get<InstallFd>(accepted).fd.get(), &byte, 1, MSG_DONTWAIT) == 1);
    CHECK(byte == 'x');

    // A socket that was a listener and is one no more.
    REQUIRE(::shutdown(listener.get(), SHUT_RDWR) == 0);
    const Reply ended = pod.accept(listener);
    CHECK((std::holds_alternative<RunInKernel>(ended) ||
           (std::holds_alternative<Fail>(ended) && std::get<Fail>(ended).number == EINVAL)));
  });
}

// The client's shim had made its offer, and was stopped before it decided. Nobody may throw the
// offer away as one whose connection died in the queue, which is empty as soon as it is accepted.
TEST_CASE("an offer is kept while its connection is being accepted") {
  in_a_pod([](Pod& pod) {
    using namespace std::chrono_literals;
    auto [listener, at] = pod.listener();
    constexpr std::size_t kLine = 1;  // of the client's thread
    local::NodeTable& table = pod.network().table();
    const std::uint64_t ticket = table.begin(kLine);
    const UniqueFd client = pod.socket();
    REQUIRE(::connect(client.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    local::FastName name;
    name.client_netns = pod.network().netns();
    name.client = *local_endpoint(client.get());
    name.server = name.service = *remote_endpoint(client.get());
    const auto fast = local::offer(name, pod.network().netns(), local::PairKind::kUnix, 1U << 20U);
    REQUIRE(fast);

    Listeners& listeners = pod.services().listeners;
    listeners.sweep(&pod.network());  // sees it for the first time
    std::this_thread::sleep_for(600ms);
    REQUIRE(std::holds_alternative<Later>(pod.accept(listener)));
    const std::uint64_t id = pod.last_id();
    listeners.sweep(&pod.network());

    CHECK(table.commit(kLine, ticket));
    CHECK(::send(fast->get(), "x", 1, MSG_NOSIGNAL) == 1);
    sockaddr none{};
    none.sa_family = AF_UNSPEC;
    REQUIRE(::connect(client.get(), &none, sizeof none) == 0);  // the reset
    pod.services().acceptor.nudge();
    REQUIRE(pod.kernel().has(id));
    const auto answer = pod.kernel().take(id);
    CHECK(pod.count(Path::kAcceptedFast) == 1);
    char byte = 0;
    CHECK(::recv(answer->installed.get(), &byte, 1, MSG_DONTWAIT) == 1);
    CHECK(byte == 'x');
  });
}
