// The handlers of connect(2) and accept(2) in a pod without programs: the guest is made of values,
// the sockets, namespaces and the node table are real. Needs root; says so without.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "netstack/base/event_loop.h"
#include "netstack/base/netns.h"
#include "sandbox/acceptor.h"
#include "sandbox/connects_in_hand.h"
#include "sandbox/epoll_cache.h"
#include "sandbox/syscall_table.h"

using namespace shunt;
using namespace shunt::sandbox;

namespace {

/// Bytes, descriptors of this process, and whether it still waits.
struct FakeGuest final : Guest {
  std::vector<std::byte> memory = std::vector<std::byte>(4096);
  bool alive = true;
  int flags_of_all = 0;
  std::function<void()> meanwhile;  ///< happens once, while a call is being answered

  template <typename T>
  std::uint64_t put(const T& value, std::uint64_t at = 64) {
    std::memcpy(memory.data() + at, &value, sizeof value);
    return at;
  }
  bool holds(std::uint64_t address, std::size_t size) const {
    return address <= memory.size() && size <= memory.size() - address;
  }
  Status copy_in(std::uint64_t address, std::span<std::byte> into) override {
    if (!holds(address, into.size())) return Error{EFAULT, "copy_in"};
    std::copy_n(memory.data() + address, into.size(), into.data());
    return Done{};
  }
  Status copy_out(std::uint64_t address, std::span<const std::byte> from) override {
    if (!holds(address, from.size())) return Error{EFAULT, "copy_out"};
    std::copy(from.begin(), from.end(), memory.data() + address);
    return Done{};
  }
  Result<UniqueFd> fetch(GuestFd number) override {
    UniqueFd copy{::fcntl(static_cast<int>(number), F_DUPFD_CLOEXEC, 0)};
    if (!copy.valid()) return last_error("fcntl");
    return copy;
  }
  Result<FdInfo> info(GuestFd) override {
    if (const auto now = std::exchange(meanwhile, {})) now();
    return FdInfo{flags_of_all, 0};
  }
  std::size_t descriptors() override { return 0; }
  bool waiting() override { return alive; }
  pid_t tid() const override { return ::getpid(); }
};

struct SilentKernel final : NotifyKernel {
  Status sizes(seccomp_notif_sizes& sizes) override {
    sizes = {sizeof(seccomp_notif), sizeof(seccomp_notif_resp), sizeof(seccomp_data)};
    return Done{};
  }
  int receive(int, void*) override { return ENOENT; }
  int control(int, unsigned long, void*) override { return 0; }
};

/// A process in a network namespace of its own, with loopback.
class PodProcess {
 public:
  PodProcess() {
    std::array<int, 2> ready{};
    REQUIRE(::pipe2(ready.data(), O_CLOEXEC) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::unshare(CLONE_NEWNET) < 0) ::_exit(1);
      ifreq request{};
      std::strcpy(request.ifr_name, "lo");
      request.ifr_flags = IFF_UP;
      if (::ioctl(::socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &request) < 0) ::_exit(1);
      if (::write(ready[1], "r", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    ::close(ready[0]);
  }
  ~PodProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  PodProcess(const PodProcess&) = delete;
  PodProcess& operator=(const PodProcess&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

/// A pod's supervisor without its threads.
class Pod {
 public:
  Pod() {
    char folder[] = "/tmp/shunt-handlers-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    folder_ = folder;
    auto joined = PodNetwork::join("test", folder_, {}, process_.pid());
    REQUIRE(joined);
    network_ = std::move(*joined);
    services_.network = network_.get();
    worker_.line = 0;
    REQUIRE(acceptor_.start(&services_));
    REQUIRE(::setns(network_->private_netns(), CLONE_NEWNET) == 0);
  }
  ~Pod() { std::filesystem::remove_all(folder_); }
  Pod(const Pod&) = delete;
  Pod& operator=(const Pod&) = delete;

  using Handler = Reply (*)(Call&);
  Reply call(Handler handler, std::array<std::uint64_t, 6> arguments) {
    const CallId identity{container_, ++last_id_, guest_.tid(), 0, {}};
    Call call{identity, guest_, arguments, worker_, services_};
    return handler(call);
  }
  UniqueFd socket() {
    auto made = network_->make_tcp_socket(AF_INET);
    REQUIRE(made);
    return std::move(*made);
  }
  /// A listener on loopback, published, and its address.
  std::pair<UniqueFd, sockaddr_in> listener() {
    UniqueFd made = socket();
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(made.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    const auto reply = call(on_listen, {static_cast<std::uint64_t>(made.get()), 8});
    REQUIRE(std::holds_alternative<Return>(reply));
    at.sin_port = htons(local_endpoint(made.get())->port);
    return {std::move(made), at};
  }
  Reply connect(const UniqueFd& socket, const sockaddr_in& to) {
    return call(on_connect, {static_cast<std::uint64_t>(socket.get()), guest_.put(to), sizeof to});
  }
  Reply accept(const UniqueFd& listener) {
    return call(on_accept, {static_cast<std::uint64_t>(listener.get()), 0, 0});
  }
  /// Ids of calls that were to be handled once more.
  const std::vector<std::uint64_t>& again() const { return again_; }
  std::uint64_t last_id() const { return last_id_; }
  std::uint64_t count(Path path) const { return statistics_.paths(path); }
  FakeGuest& guest() { return guest_; }
  PodNetwork& network() { return *network_; }

 private:
  PodProcess process_;
  std::string folder_;
  std::unique_ptr<PodNetwork> network_;
  SilentKernel kernel_;
  std::shared_ptr<Container> container_ = std::make_shared<Container>(
      "c", std::move(*NotifyFd::adopt(UniqueFd{}, kernel_)), config::Pair::kUnix);
  FakeGuest guest_;
  EventLoop loop_;
  Worker worker_;
  Acceptor acceptor_{loop_, worker_, [](const std::function<void()>& work) { work(); }};
  Statistics statistics_;
  SocketNotes notes_;
  UnheardConnects unheard_;
  std::vector<std::uint64_t> again_;
  ConnectsInHand connects_{
      [this](const CallId& call, const ConnectsInHand::Arguments&) { again_.push_back(call.id); }};
  EpollCache epolls_;
  Listeners listeners_;
  Services services_{nullptr, nullptr,    statistics_, notes_,  unheard_, connects_,
                     epolls_, listeners_, acceptor_,   nullptr, {}};
  std::uint64_t last_id_ = 0;
};

/// The body on a thread of its own: the pod enters the private namespace with it.
template <typename Body>
void in_a_pod(Body body) {
  if (::geteuid() != 0) {
    MESSAGE("skipped: network namespaces need root");
    return;
  }
  std::thread{[&] {
    try {
      Pod pod;
      body(pod);
    } catch (...) {  // a REQUIRE that failed, and is noted
    }
  }}.join();
}

sockaddr_in address(const char* text, std::uint16_t port) {
  const Endpoint endpoint{*parse_address(text), port};
  sockaddr_in result{};
  const SockAddress full = to_sockaddr(endpoint, AF_INET);
  std::memcpy(&result, full.get(), sizeof result);
  return result;
}

}  // namespace

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
