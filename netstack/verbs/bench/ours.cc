#include "netstack/verbs/bench/ours.h"

#include <sys/socket.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <thread>

#include "netstack/verbs/bench/frames.h"
#include "netstack/verbs/bench/one_write.h"
#include "netstack/verbs/bench/program.h"
#include "netstack/verbs/fabric.h"

namespace shunt::verbs::bench {
namespace {

using Clock = std::chrono::steady_clock;

class Side {
 public:
  Side(const Workload& workload, bool writer, int other)
      : work_{workload}, writer_{writer}, other_{other} {}
  ~Side() {
    if (program_.joinable()) program_.join();
  }
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  Result<Tally> run();

 private:
  void send(Type type, fabric::StreamId id, fabric::View bytes) {
    if (closing_) return;  // the last word of a link that is destroyed
    send_frame(other_, type, id, bytes);
  }
  Result<fabric::Bytes> swap_hello();
  void on_frame();
  void open_all();
  void got_end(UniqueFd application);
  void stop(Error error) {
    if (!error_) error_ = error;
    loop_.stop();
  }
  Tally tally() const;

  Workload work_;
  bool writer_;
  int other_;
  EventLoop loop_;
  std::unique_ptr<fabric::Fabric> fabric_;
  std::unique_ptr<fabric::Link> link_;
  std::vector<UniqueFd> sockets_;
  std::vector<UniqueFd> opened_;  ///< by stream, until the answer is there
  std::thread program_;
  std::atomic<bool> program_over_ = false;
  ProgramResult result_;
  bool ended_ = false;
  bool closing_ = false;
  bool other_ended_ = false;
  std::optional<Error> error_;
  Clock::time_point begin_;
  double seconds_ = 0;
};

Result<fabric::Ends> make_ends() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return last_error("socketpair");
  // As the sockets are that containers get.
  const int room = 4 << 20;
  for (const int fd : pair) (void)::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  return fabric::Ends{UniqueFd{pair[0]}, UniqueFd{pair[1]}};
}

Result<fabric::Bytes> Side::swap_hello() {
  const fabric::Bytes ours = fabric_->advertise();
  auto size = static_cast<std::uint32_t>(ours.size());
  if (const Status told = swap_bytes(other_, &size, &size, sizeof size); !told) return told.error();
  fabric::Bytes theirs(size);
  if (::send(other_, ours.data(), ours.size(), MSG_NOSIGNAL) < 0) return last_error("send");
  if (const Status got = read_all(other_, theirs.data(), size); !got) return got.error();
  return theirs;
}

Result<Tally> Side::run() {
  auto fabric = make_fabric(loop_, Options{});
  if (!fabric) return fabric.error();
  fabric_ = std::move(*fabric);
  auto hello = swap_hello();
  if (!hello) return hello.error();
  fabric::LinkSetup setup;
  setup.dialled = writer_;
  setup.peer_name = "the other side";
  setup.hello = *hello;
  setup.send = [this](fabric::Bytes bytes) { send(Type::kLink, 0, bytes); };
  setup.failed = [this](Error error) {
    if (!other_ended_) stop(error);
  };
  fabric_->link(std::move(setup), [this](Result<std::unique_ptr<fabric::Link>> link) {
    if (!link) return stop(link.error());
    link_ = std::move(*link);
  });
  loop_.on_wake([this] {
    if (!program_over_ || ended_) return;
    ended_ = true;
    seconds_ = std::chrono::duration<double>(Clock::now() - begin_).count();
    send(Type::kEnd, 0, {});
    if (other_ended_) loop_.stop();
  });
  const auto watch = loop_.watch(other_, EPOLLIN, [this](std::uint32_t) { on_frame(); });
  if (!watch) return watch.error();
  if (writer_) open_all();
  loop_.after(std::chrono::minutes{2}, [this] { stop({ETIMEDOUT, "bench"}); });
  if (!error_) loop_.run();
  loop_.forget(*watch);
  if (error_) return *error_;
  if (!result_.status) return result_.status.error();
  Tally sum = tally();
  char ready = 1;  // the counters of both are taken before either link ends
  if (const Status both = swap_bytes(other_, &ready, &ready, 1); !both) return both.error();
  closing_ = true;
  link_.reset();
  return sum;
}

void Side::open_all() {
  opened_.resize(work_.streams);
  for (unsigned i = 0; i < work_.streams && link_ != nullptr; ++i) {
    link_->open(2 * i + 1, &make_ends, [this, i](Result<fabric::Half> half) {
      if (!half) return stop(half.error());
      opened_[i] = std::move(half->application);
      send(Type::kOffer, 2 * i + 1, half->message);
    });
  }
}

void Side::got_end(UniqueFd application) {
  sockets_.push_back(std::move(application));
  if (sockets_.size() < work_.streams) return;
  begin_ = Clock::now();
  program_ = std::thread{[this] {
    result_ = run_program(work_, writer_, std::move(sockets_));
    program_over_ = true;
    loop_.wake();
  }};
}

void Side::on_frame() {
  Frame frame;
  fabric::Bytes bytes;
  if (const Status got = read_frame(other_, frame, bytes); !got) return stop(got.error());
  switch (frame.type) {
    case Type::kHello:
      break;
    case Type::kLink:
      link_->on_message(bytes);
      break;
    case Type::kOffer:
      link_->accept(frame.id, bytes, &make_ends, [this, id = frame.id](Result<fabric::Half> half) {
        if (!half) return stop(half.error());
        send(Type::kAnswer, id, half->message);
        got_end(std::move(half->application));
      });
      break;
    case Type::kAnswer:
      if (const Status done = link_->complete(frame.id, bytes); !done) return stop(done.error());
      got_end(std::move(opened_[frame.id / 2]));
      break;
    case Type::kEnd:
      other_ended_ = true;
      if (ended_) loop_.stop();
      break;
  }
}

Tally Side::tally() const {
  Tally sum;
  for (const auto& [name, value] : link_->view().counters) {
    if (name == "work requests") sum.work_requests = value;
    if (name == "signalled") sum.signalled = value;
    if (name == "posts") sum.posts = value;
    if (name == "completions") sum.completions = value;
    if (name == "wake-ups") sum.wake_ups = value;
  }
  sum.payload = result_.payload;
  sum.messages = result_.messages;
  // The program's send, our recv into the mirror; our send out of the region, the program's recv.
  sum.copied = result_.payload * 4;
  sum.seconds = seconds_;
  return sum;
}

}  // namespace

Result<Tally> run_ours(const Workload& workload, bool writer, int other) {
  return Side{workload, writer, other}.run();
}

}  // namespace shunt::verbs::bench
