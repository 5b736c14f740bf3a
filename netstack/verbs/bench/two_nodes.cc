// Two nodes, each with a device of its own, in two machines: streams between them, and what breaks
// them. Runs on both at once:
//
//   scripts/rdma-guest --nodes 2 -- build/dev/netstack/verbs_two_nodes run|kill|down|deaf|pause
//
//   run   4 MiB each way, byte by byte
//   kill  the program of node 2 vanishes: node 1's link fails by itself, in time
//   down  node 2's interface goes down: its link fails by the port's state. Node 1's fails by its
//         own requests if any are under way; if its ring is full none are, and it learns of it when
//         node 2 can speak again (in a shim the control connection's silence tells, after six
//         seconds). When the interface is up a new link of the same fabrics works
//   deaf  node 2 hears nothing any more, node 1 hears it: neither gets an answer, and both links
//         fail by that, in time; when it hears again a new link works
//   pause node 2 hears nothing for longer than a link bears it by default; these links were told to
//         bear it: nothing fails, no byte is lost
//
// Environment: NODE (1 or 2), ADDRESS, PEER. The control connection is TCP on port 7499; that it
// breaks as well is not taken notice of: only the device's word counts here.
#include <fcntl.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>

#include "netstack/base/endpoint.h"
#include "netstack/verbs/bench/frames.h"
#include "netstack/verbs/fabric.h"

namespace shunt::verbs::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kTotal = 4u << 20;
constexpr std::uint64_t kShort = 1u << 20;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string{} : std::string{value};
}

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "verbs_two_nodes: node %s: %s\n", environment("NODE").c_str(), why.c_str());
  std::fflush(nullptr);
  std::_Exit(EXIT_FAILURE);
}

std::byte pattern(std::uint64_t at) { return static_cast<std::byte>(at * 0x9e3779b1 >> 16); }

/// The control connection: node 1 listens.
UniqueFd meet(bool first) {
  const auto own = parse_address(environment("ADDRESS"));
  const auto peer = parse_address(environment("PEER"));
  if (!own || !peer) die("ADDRESS and PEER are needed");
  const SockAddress address = to_sockaddr(Endpoint{first ? *own : *peer, 7499}, AF_INET);
  if (first) {
    const UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const int one = 1;
    (void)::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (::bind(listener.get(), address.get(), address.length) != 0) die("bind");
    if (::listen(listener.get(), 1) != 0) die("listen");
    return UniqueFd{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  }
  for (int i = 0; i < 300; ++i) {
    UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (::connect(socket.get(), address.get(), address.length) == 0) return socket;
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
  die("node 1 does not listen");
}

class Node {
 public:
  explicit Node(bool first, const Options& options) : first_{first}, control_{meet(first)} {
    auto fabric = make_fabric(loop_, options);
    if (!fabric) die(describe(fabric.error()));
    fabric_ = std::move(*fabric);
    const auto watch = loop_.watch(control_.get(), EPOLLIN, [this](std::uint32_t) { on_frame(); });
    if (!watch) die("watch");
    control_watch_ = *watch;
  }

  /// A link and one stream on it.
  void join();
  /// Both write and read `bytes`, checking each.
  void transfer(std::uint64_t bytes);
  /// Both nodes have come here.
  void together();
  /// Until something can be sent.
  void wait_for_room();
  /// As a process that is killed. Linux closes descriptors in order: the device goes before.
  [[noreturn]] void die_with_control_last();
  void wait_until_alone();
  /// Keeps writing until the link is over; the errno of its end. Checks that the program is told.
  int until_over(std::chrono::seconds most);
  bool until(const std::function<bool()>& done, std::chrono::seconds most);
  void print() const;
  void drop_link() {
    link_.reset();
    application_.reset();
  }

 private:
  void on_frame();
  void pump_out(std::uint64_t most);
  void pump_in();

  bool first_;
  UniqueFd control_;
  EventLoop loop_;
  EventLoop::Token control_watch_ = 0;
  bool alone_ = false;  ///< the other node's process has ended
  std::unique_ptr<fabric::Fabric> fabric_;
  std::unique_ptr<fabric::Link> link_;
  std::uint32_t attempt_ = 0;
  fabric::Bytes hello_;
  std::uint32_t hello_attempt_ = 0;
  std::uint32_t here_ = 0;   ///< how often together() was called on this link, here
  std::uint32_t there_ = 0;  ///< and at the other node
  UniqueFd application_;
  bool joined_ = false;
  std::uint64_t sent_ = 0;
  std::uint64_t got_ = 0;
  int read_error_ = 0;
  int failed_ = 0;
};

Result<fabric::Ends> make_ends() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return last_error("socketpair");
  return fabric::Ends{UniqueFd{pair[0]}, UniqueFd{pair[1]}};
}

bool Node::until(const std::function<bool()>& done, std::chrono::seconds most) {
  const auto end = Clock::now() + most;
  bool is_done = done();
  for (; !is_done && Clock::now() < end; is_done = done()) loop_.run_once(10);
  return is_done;
}

void Node::join() {
  joined_ = false;
  sent_ = got_ = 0;
  read_error_ = failed_ = 0;
  ++attempt_;
  here_ = there_ = 0;
  send_frame(control_.get(), Type::kHello, attempt_, fabric_->advertise());
  if (!until([&] { return hello_attempt_ == attempt_; }, std::chrono::seconds{30})) die("no hello");
  if (const auto fits = fabric_->fits(hello_); !fits) die(fits.error());
  fabric::LinkSetup setup;
  setup.dialled = !first_;
  setup.peer_name = "the other node";
  setup.hello = hello_;
  setup.send = [this, attempt = attempt_](fabric::Bytes bytes) {
    send_frame(control_.get(), Type::kLink, attempt, bytes);
  };
  setup.failed = [this](Error error) { failed_ = error.number; };
  fabric_->link(std::move(setup), [this](Result<std::unique_ptr<fabric::Link>> link) {
    if (!link) die(describe(link.error()));
    link_ = std::move(*link);
  });
  if (!first_) {
    link_->open(1, &make_ends, [this](Result<fabric::Half> half) {
      if (!half) die(describe(half.error()));
      application_ = std::move(half->application);
      send_frame(control_.get(), Type::kOffer, attempt_, half->message);
    });
  }
  if (!until([&] { return joined_; }, std::chrono::seconds{30})) die("no stream");
}

void Node::on_frame() {
  Frame frame;
  fabric::Bytes bytes;
  if (!read_frame(control_.get(), frame, bytes)) {
    alone_ = true;
    return loop_.forget(control_watch_);
  }
  if (frame.type == Type::kHello) {
    hello_ = std::move(bytes);
    hello_attempt_ = frame.id;
    return;
  }
  if (frame.id != attempt_ || link_ == nullptr) return;  // of an earlier link
  switch (frame.type) {
    case Type::kLink:
      link_->on_message(bytes);
      break;
    case Type::kOffer:
      link_->accept(1, bytes, &make_ends, [this](Result<fabric::Half> half) {
        if (!half) die(describe(half.error()));
        application_ = std::move(half->application);
        send_frame(control_.get(), Type::kAnswer, attempt_, half->message);
        joined_ = true;
      });
      break;
    case Type::kAnswer:
      if (!link_->complete(1, bytes)) die("complete");
      joined_ = true;
      break;
    case Type::kEnd:
      ++there_;
      break;
    default:
      break;
  }
}

void Node::pump_out(std::uint64_t most) {
  std::array<std::byte, 16384> piece;
  while (sent_ < most) {
    const std::size_t size = std::min<std::uint64_t>(piece.size(), most - sent_);
    for (std::size_t i = 0; i < size; ++i) piece[i] = pattern(sent_ + i);
    const ssize_t count = ::send(application_.get(), piece.data(), size, MSG_NOSIGNAL);
    if (count <= 0) return;
    sent_ += static_cast<std::uint64_t>(count);
  }
}

void Node::pump_in() {
  std::array<std::byte, 16384> piece;
  for (;;) {
    const ssize_t count = ::recv(application_.get(), piece.data(), piece.size(), 0);
    if (count < 0 && errno != EAGAIN) read_error_ = errno;
    if (count <= 0) return;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      if (piece[i] != pattern(got_ + i)) die("wrong byte at " + std::to_string(got_ + i));
    got_ += static_cast<std::uint64_t>(count);
  }
}

void Node::transfer(std::uint64_t bytes) {
  const bool all = until(
      [&] {
        pump_out(bytes);
        pump_in();
        return failed_ != 0 || (sent_ == bytes && got_ == bytes);
      },
      std::chrono::seconds{120});
  if (!all || failed_ != 0) die("transfer: errno " + std::to_string(failed_));
  // What is sent has not arrived yet: the other node says when it has.
  together();
}

void Node::together() {
  ++here_;
  send_frame(control_.get(), Type::kEnd, attempt_, {});
  if (!until([&] { return there_ >= here_; }, std::chrono::seconds{60})) die("no end");
}

void Node::die_with_control_last() {
  constexpr int kHigh = 512;
  const int last = ::fcntl(control_.get(), F_DUPFD_CLOEXEC, kHigh);
  if (last < 0) die("fcntl");
  std::_Exit(EXIT_SUCCESS);
}

void Node::wait_until_alone() {
  if (!until([&] { return alone_; }, std::chrono::seconds{30})) die("the other node lives on");
}

void Node::wait_for_room() {
  const auto room = [&] { return link_->view().streams.at(0).credit > 0; };
  if (!until(room, std::chrono::seconds{60})) die("no credit");
}

int Node::until_over(std::chrono::seconds most) {
  const auto begin = Clock::now();
  const bool over = until(
      [&] {
        pump_out(~0ull);
        pump_in();
        return failed_ != 0 && read_error_ != 0;
      },
      most);
  if (!over) die("the link did not end in time");
  if (read_error_ != ECONNRESET) die("the program got " + errno_name(read_error_));
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
  std::printf("node %s: over after %lld ms: %s, program: %s\n", environment("NODE").c_str(),
              static_cast<long long>(took.count()), errno_name(failed_).c_str(),
              errno_name(read_error_).c_str());
  return failed_;
}

void Node::print() const {
  std::printf("node %s:", environment("NODE").c_str());
  for (const auto& [name, value] : link_->view().counters)
    if (value != 0) std::printf(" %s %llu,", name.c_str(), static_cast<unsigned long long>(value));
  std::printf("\n");
}

void set_interface(const char* state) {
  const std::string command =
      "ip link set $(cat /sys/class/infiniband/*/ports/1/gid_attrs/ndevs/0 | head -n 1) " +
      std::string{state};
  if (std::system(command.c_str()) != 0) die("ip link");
}

/// Drops what arrives, `when` it does (an expression of nft).
void set_deaf(const std::string& when) {
  const std::string command =
      "nft 'add table inet deaf; add chain inet deaf i { type filter hook input priority 0; };"
      " add rule inet deaf i iifname != lo " +
      when + " drop'";
  if (std::system(command.c_str()) != 0) die("nft");
}

void set_hearing() {
  if (std::system("nft delete table inet deaf") != 0) die("nft");
}

int run(const std::string& mode) {
  const bool first = environment("NODE") == "1";
  Options options;
  // 15 s of the device's patience: an emulated machine on a busy host may itself stop for seconds.
  if (mode == "pause") options.tuning = Tuning::bearing(std::chrono::seconds{24});
  Node node{first, options};
  node.join();
  node.transfer(mode == "run" ? kTotal : kShort);
  node.print();
  if (mode == "run") return EXIT_SUCCESS;
  if (mode == "kill") {
    // A write that nobody answers is how a device learns of it. So there must be credit for one,
    // and none that fills the ring while the other node still answers.
    if (first) node.wait_for_room();
    node.together();
    if (!first) node.die_with_control_last();
    node.wait_until_alone();
    return node.until_over(std::chrono::seconds{30}) == ETIMEDOUT ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  if (mode == "pause") {
    constexpr std::time_t kPause = 6;  // less what the command takes; the default bears 3.8
    // The kernel ends it: a command to do so might itself be late by seconds.
    if (!first) set_deaf("meta time < " + std::to_string(std::time(nullptr) + kPause));
    node.transfer(kTotal);
    if (!first) set_hearing();
    std::printf("node %s: the link is still up\n", environment("NODE").c_str());
    return EXIT_SUCCESS;
  }
  const bool deaf = mode == "deaf";
  if (!first) deaf ? set_deaf("") : set_interface("down");
  const int error = node.until_over(std::chrono::seconds{30});
  if (error != ETIMEDOUT && error != ENETDOWN && error != ECONNRESET)
    die("link: " + errno_name(error));
  node.drop_link();
  if (!first) {
    // Down for long enough that node 1 has only its own device to learn it from.
    std::this_thread::sleep_for(std::chrono::seconds{deaf ? 2 : 8});
    deaf ? set_hearing() : set_interface("up");
  }
  node.join();
  node.transfer(kShort);
  std::printf("node %s: a new link works\n", environment("NODE").c_str());
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace shunt::verbs::bench

// What throws ends it, as everywhere (base/result.h).
int main(int argc, char** argv) {  // NOLINT(bugprone-exception-escape)
  if (argc != 2) return EXIT_FAILURE;
  const int status = shunt::verbs::bench::run(argv[1]);
  std::fflush(nullptr);
  // The other node may still need an answer from our device.
  if (std::strcmp(argv[1], "kill") != 0) std::this_thread::sleep_for(std::chrono::seconds{3});
  return status;
}
