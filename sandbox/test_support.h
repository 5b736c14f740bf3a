// For tests of handlers without programs: the guest is this process, and the kernel's notify
// descriptor is replaced by one that does to this process what would be done to a guest. Sockets,
// namespaces and the node table are real.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "netstack/base/event_loop.h"
#include "netstack/base/netns.h"
#include "sandbox/acceptor.h"
#include "sandbox/connects_in_hand.h"
#include "sandbox/epoll_cache.h"
#include "sandbox/listeners.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox::test {

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

/// What became of a call.
struct Answer {
  std::int64_t value = 0;
  int error = 0;
  UniqueFd installed;  ///< the new descriptor
};

/// Every call waits until it is answered; descriptors are put into this process.
class OwnKernel final : public NotifyKernel {
 public:
  Status sizes(seccomp_notif_sizes& sizes) override {
    sizes = {sizeof(seccomp_notif), sizeof(seccomp_notif_resp), sizeof(seccomp_data)};
    return Done{};
  }
  int receive(int, void*) override { return ENOENT; }
  int control(int, unsigned long request, void* argument) override {
    if (request == SECCOMP_IOCTL_NOTIF_SEND) {
      const auto& sent = *static_cast<const seccomp_notif_resp*>(argument);
      keep(sent.id, {sent.val, -sent.error, {}});
    }
    if (request != SECCOMP_IOCTL_NOTIF_ADDFD) return 0;
    const auto& given = *static_cast<const seccomp_notif_addfd*>(argument);
    const int source = static_cast<int>(given.srcfd);
    if ((given.flags & SECCOMP_ADDFD_FLAG_SETFD) != 0)
      return ::dup3(source, static_cast<int>(given.newfd), O_CLOEXEC) < 0 ? -errno : 0;
    UniqueFd copy{::fcntl(source, F_DUPFD_CLOEXEC, 0)};
    const int number = copy.get();
    keep(given.id, {number, 0, std::move(copy)});
    return number;
  }

  /// Waits for the answer to a call, which other threads may give.
  std::optional<Answer> take(std::uint64_t id) {
    std::unique_lock lock{mutex_};
    if (!changed_.wait_for(lock, std::chrono::seconds{10}, [&] { return answers_.contains(id); }))
      return std::nullopt;
    return std::move(answers_.extract(id).mapped());
  }
  bool has(std::uint64_t id) {
    const std::lock_guard guard{mutex_};
    return answers_.contains(id);
  }

 private:
  void keep(std::uint64_t id, Answer answer) {
    const std::lock_guard guard{mutex_};
    answers_.insert_or_assign(id, std::move(answer));
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Answer> answers_;
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

/// A pod's supervisor without its threads. The thread that makes it is in the private namespace
/// afterwards.
class Pod {
 public:
  explicit Pod(const PodProcess& process) {
    char folder[] = "/tmp/shunt-handlers-XXXXXX";
    REQUIRE(::mkdtemp(folder) != nullptr);
    folder_ = folder;
    auto joined = PodNetwork::join("test", folder_, {}, process.pid());
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
  /// Something that answers a call.
  template <typename Body>
  Reply call(Body body, std::array<std::uint64_t, 6> arguments) {
    const CallId identity{container_, ++last_id_, guest_.tid(), 0, {}};
    Call call{identity, guest_, arguments, worker_, services_};
    return body(call);
  }
  UniqueFd socket() {
    auto made = network_->make_tcp_socket(AF_INET);
    REQUIRE(made);
    return std::move(*made);
  }
  /// A listener, published, and its address.
  std::pair<UniqueFd, sockaddr_in> listener(const IpAddress& address) {
    UniqueFd made = socket();
    const SockAddress any_port = to_sockaddr({address, 0}, AF_INET);
    REQUIRE(::bind(made.get(), any_port.get(), any_port.length) == 0);
    const auto reply = call(on_listen, {static_cast<std::uint64_t>(made.get()), 8});
    REQUIRE(std::holds_alternative<Return>(reply));
    sockaddr_in at{};
    socklen_t length = sizeof at;
    REQUIRE(::getsockname(made.get(), reinterpret_cast<sockaddr*>(&at), &length) == 0);
    return {std::move(made), at};
  }
  std::pair<UniqueFd, sockaddr_in> listener() { return listener(*parse_address("127.0.0.1")); }
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
  OwnKernel& kernel() { return kernel_; }
  PodNetwork& network() { return *network_; }
  Services& services() { return services_; }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::unique_ptr<PodNetwork> network_;
  OwnKernel kernel_;
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

/// The body on a thread of its own, which may enter namespaces.
template <typename Body>
void on_a_thread(Body body) {
  if (::geteuid() != 0) {
    MESSAGE("skipped: network namespaces need root");
    return;
  }
  std::thread{[&] {
    try {
      body();
    } catch (...) {  // a REQUIRE that failed, and is noted
    }
  }}.join();
}

template <typename Body>
void in_a_pod(Body body) {
  on_a_thread([&] {
    const PodProcess process;
    Pod pod{process};
    body(pod);
  });
}

inline sockaddr_in address(const char* text, std::uint16_t port) {
  const Endpoint endpoint{*parse_address(text), port};
  sockaddr_in result{};
  const SockAddress full = to_sockaddr(endpoint, AF_INET);
  std::memcpy(&result, full.get(), sizeof result);
  return result;
}

}  // namespace shunt::sandbox::test
