#include "netstack/window/pair_of_fabrics.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <optional>

#include "netstack/window/rendezvous.h"

namespace shunt::window {

using fabric::Bytes;
using fabric::Half;
using fabric::Link;
using fabric::StreamId;
using fabric::View;

Directory::Directory() {
  char name[] = "/tmp/shunt-window-XXXXXX";
  if (::mkdtemp(name) == nullptr) std::abort();
  path = name;
}

Directory::~Directory() { std::filesystem::remove_all(path); }

namespace {

/// Not doctest's: the bench is no test.
void require(bool so, const char* what) {
  if (so) return;
  std::perror(what);
  std::abort();
}

/// The child may get no CPU for a while.
template <typename Predicate>
void turn_until(EventLoop& loop, Predicate so) {
  const auto end = EventLoop::Clock::now() + std::chrono::seconds{60};
  while (!so() && EventLoop::Clock::now() < end) loop.run_once(10);
}

/// What the control connection does for one side: brings the other's messages once there is a link.
struct Mouth {
  std::unique_ptr<fabric::Fabric> fabric;
  std::unique_ptr<Link>* link = nullptr;  ///< where the link is, once made
  std::optional<Error> refused;
  std::deque<Bytes> early;

  void hear(Bytes message) {
    if (link != nullptr && *link)
      (*link)->on_message(message);
    else
      early.push_back(std::move(message));
  }
  void made(Result<std::unique_ptr<Link>> result) {
    if (!result) {
      refused = result.error();
      return;
    }
    *link = std::move(*result);
    for (; !early.empty(); early.pop_front()) (*link)->on_message(early.front());
  }
};

std::unique_ptr<fabric::Fabric> fabric_in(EventLoop& loop, const std::string& directory,
                                          const Change& change) {
  Options options;
  options.directory = directory;
  if (change) change(options);
  auto made = make_fabric(loop, options);
  if (!made) std::abort();
  return std::move(*made);
}

}  // namespace

fabric::contract::Pair join_here(EventLoop& loop, MoveFunction<void(Error)> dialled_failed,
                                 MoveFunction<void(Error)> listened_failed, const Change& change) {
  struct Keep {
    Directory directory;
    Mouth dialled, listened;
  };
  auto keep = std::make_shared<Keep>();
  fabric::contract::Pair pair;
  keep->dialled.fabric = fabric_in(loop, keep->directory.path, change);
  keep->listened.fabric = fabric_in(loop, keep->directory.path, change);
  keep->dialled.link = &pair.dialled;
  keep->listened.link = &pair.listened;
  const auto start = [&](Mouth& own, Mouth& other, bool dialled, MoveFunction<void(Error)> failed) {
    fabric::LinkSetup setup;
    setup.dialled = dialled;
    setup.peer_name = dialled ? "listener" : "dialler";
    setup.hello = other.fabric->advertise();
    require(bool{own.fabric->fits(setup.hello)}, "fits");
    const std::weak_ptr<Keep> weak = keep;
    setup.send = [&loop, weak, &other](Bytes message) {
      loop.post([weak, &other, message] {
        if (const auto held = weak.lock()) other.hear(message);
      });
    };
    setup.failed = std::move(failed);
    own.fabric->link(std::move(setup), [weak, &own](Result<std::unique_ptr<Link>> link) {
      if (const auto held = weak.lock()) own.made(std::move(link));
    });
  };
  start(keep->dialled, keep->listened, true, std::move(dialled_failed));
  start(keep->listened, keep->dialled, false, std::move(listened_failed));
  const auto up = [](const std::unique_ptr<Link>& link) {
    return link && link->view().state == "up";
  };
  turn_until(loop, [&] { return up(pair.dialled) && up(pair.listened); });
  keep->dialled.link = keep->listened.link = nullptr;
  pair.keep = keep;
  return pair;
}

// ---- across fork
//
// One SEQPACKET connection: first byte what it is, then the stream id, an errno, and bytes; a
// descriptor with it if it is half a stream.

namespace {

enum class Say : std::uint8_t {
  kHello = 1,
  kMessage,
  kMade,
  kOpen,
  kAccept,
  kHalf,
  kComplete,
  kStatus,
  kAbandon,
  kView,
  kStreams,
  kFailed
};

struct Word {
  Say say{};
  StreamId id = 0;
  int number = 0;
  Bytes bytes;
  UniqueFd fd;
};

struct Head {
  Say say;
  StreamId id;
  int number;
};

void tell(int socket, Say say, StreamId id, int number, View bytes, int fd = -1) {
  Head head{};
  head.say = say;
  head.id = id;
  head.number = number;
  iovec parts[2] = {{&head, sizeof head}, {const_cast<std::byte*>(bytes.data()), bytes.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  (void)!::sendmsg(socket, &message, MSG_NOSIGNAL);
}

std::optional<Word> hear(int socket, int flags) {
  Head head{};
  Bytes bytes(200000);
  iovec parts[2] = {{&head, sizeof head}, {bytes.data(), bytes.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  if (n < static_cast<ssize_t>(sizeof head)) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(n) - sizeof head);
  Word word{head.say, head.id, head.number, std::move(bytes), {}};
  if (const cmsghdr* rights = CMSG_FIRSTHDR(&message); rights != nullptr) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    word.fd = UniqueFd{fd};
  }
  return word;
}

fabric::MakeEnds plain_ends() {
  return []() -> Result<fabric::Ends> {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
      return last_error("socketpair");
    const int size = 8 << 20;
    for (const int end : ends) ::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    return fabric::Ends{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
  };
}

[[noreturn]] void child(int socket, const std::string& directory, const Change& change) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  EventLoop loop;
  std::unique_ptr<Link> link;
  Mouth mouth;
  mouth.link = &link;
  mouth.fabric = fabric_in(loop, directory, change);
  tell(socket, Say::kHello, 0, 0, mouth.fabric->advertise());
  const auto half = [socket](StreamId id, Result<Half> result) {
    if (result)
      tell(socket, Say::kHalf, id, 0, result->message, result->application.get());
    else
      tell(socket, Say::kHalf, id, result.error().number, {});
  };
  const auto on_word = [&](Word word) {
    if (word.say == Say::kHello) {
      fabric::LinkSetup setup;
      setup.peer_name = "parent";
      setup.hello = word.bytes;
      setup.send = [socket](Bytes bytes) { tell(socket, Say::kMessage, 0, 0, bytes); };
      setup.failed = [socket](Error error) { tell(socket, Say::kFailed, 0, error.number, {}); };
      mouth.fabric->link(std::move(setup), [&, socket](Result<std::unique_ptr<Link>> made) {
        tell(socket, Say::kMade, 0, made ? 0 : made.error().number, {});
        mouth.made(std::move(made));
      });
    } else if (word.say == Say::kMessage) {
      mouth.hear(std::move(word.bytes));
    } else if (word.say == Say::kOpen) {
      link->open(word.id, plain_ends(),
                 [&, id = word.id](Result<Half> h) { half(id, std::move(h)); });
    } else if (word.say == Say::kAccept) {
      link->accept(word.id, word.bytes, plain_ends(),
                   [&, id = word.id](Result<Half> h) { half(id, std::move(h)); });
    } else if (word.say == Say::kComplete) {
      const Status done = link->complete(word.id, word.bytes);
      tell(socket, Say::kStatus, word.id, done ? 0 : done.error().number, {});
    } else if (word.say == Say::kAbandon) {
      link->abandon(word.id);
    } else if (word.say == Say::kView) {
      Bytes bytes;
      for (const auto& stream : link->view().streams) {
        const auto raw = std::as_bytes(std::span{&stream.ring, 1});
        bytes.insert(bytes.end(), raw.begin(), raw.end());
      }
      tell(socket, Say::kStreams, 0, 0, bytes);
    }
  };
  (void)!loop.watch(socket, EPOLLIN, [&](std::uint32_t) {
    auto word = hear(socket, MSG_DONTWAIT);
    if (!word) ::_exit(0);
    on_word(std::move(*word));
  });
  loop.run();
  ::_exit(0);
}

class Proxy final : public Link {
 public:
  Proxy(EventLoop& loop, int pid, UniqueFd socket, MoveFunction<void(Error)> failed, Mouth& mouth)
      : loop_{loop},
        pid_{pid},
        socket_{std::move(socket)},
        failed_{std::move(failed)},
        mouth_{mouth} {
    watch_ = *loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t) {
      auto word = hear(socket_.get(), MSG_DONTWAIT);
      if (word)
        on_word(std::move(*word));
      else if (errno != EAGAIN)
        loop_.forget(std::exchange(watch_, 0));
    });
  }
  ~Proxy() override {
    loop_.forget(watch_);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void say(Say what, StreamId id, View bytes) { tell(socket_.get(), what, id, 0, bytes); }

  void open(StreamId id, fabric::MakeEnds, fabric::HalfDone done) override {
    waiting_.push_back(std::move(done));
    say(Say::kOpen, id, {});
  }
  void accept(StreamId id, View offer, fabric::MakeEnds, fabric::HalfDone done) override {
    waiting_.push_back(std::move(done));
    say(Say::kAccept, id, offer);
  }
  Status complete(StreamId id, View answer) override {
    say(Say::kComplete, id, answer);
    const Word word = await(Say::kStatus);
    if (word.number != 0) return Error{word.number, "child"};
    return Done{};
  }
  void abandon(StreamId id) override { say(Say::kAbandon, id, {}); }
  void on_message(View message) override { say(Say::kMessage, 0, message); }
  fabric::LinkView view() const override {
    auto* self = const_cast<Proxy*>(this);
    self->say(Say::kView, 0, {});
    const Word word = self->await(Say::kStreams);
    fabric::LinkView view{fabric::Kind::kWindow, "child", {}, {}};
    for (std::size_t at = 0; at + 8 <= word.bytes.size(); at += 8) {
      fabric::StreamView stream;
      std::memcpy(&stream.ring, &word.bytes[at], 8);
      view.streams.push_back(stream);
    }
    return view;
  }
  int pid() const { return pid_; }

 private:
  void on_word(Word word) {
    if (word.say == Say::kMessage) mouth_.hear(std::move(word.bytes));
    if (word.say == Say::kFailed) failed_(Error{word.number, "child"});
    if (word.say != Say::kHalf || waiting_.empty()) return;
    auto done = std::move(waiting_.front());
    waiting_.pop_front();
    if (word.number != 0)
      done(Error{word.number, "child"});
    else
      done(Half{std::move(word.fd), std::move(word.bytes)});
  }
  Word await(Say what) {
    for (;;) {
      auto word = hear(socket_.get(), 0);
      if (!word) return {};
      if (word->say == what) return std::move(*word);
      on_word(std::move(*word));
    }
  }

  EventLoop& loop_;
  int pid_;
  UniqueFd socket_;
  MoveFunction<void(Error)> failed_;
  Mouth& mouth_;
  EventLoop::Token watch_ = 0;
  std::deque<fabric::HalfDone> waiting_;
};

}  // namespace

fabric::contract::Pair join_child(EventLoop& loop, MoveFunction<void(Error)> dialled_failed,
                                  MoveFunction<void(Error)> listened_failed, const Change& change) {
  struct Keep {
    Directory directory;
    Mouth mouth;
  };
  auto keep = std::make_shared<Keep>();
  int ends[2];
  require(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  const int size = 4 << 20;
  for (const int end : ends) ::setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  const int pid = ::fork();
  require(pid >= 0, "fork");
  if (pid == 0) {
    ::close(ends[0]);
    child(ends[1], keep->directory.path, change);
  }
  ::close(ends[1]);
  UniqueFd socket{ends[0]};
  fabric::contract::Pair pair;
  keep->mouth.fabric = fabric_in(loop, keep->directory.path, change);
  keep->mouth.link = &pair.dialled;
  const auto hello = hear(socket.get(), 0);
  require(hello.has_value(), "hello");
  auto proxy = std::make_unique<Proxy>(loop, pid, std::move(socket), std::move(listened_failed),
                                       keep->mouth);
  proxy->say(Say::kHello, 0, keep->mouth.fabric->advertise());
  fabric::LinkSetup setup;
  setup.dialled = true;
  setup.peer_name = "child";
  setup.hello = hello->bytes;
  setup.send = [to = proxy.get()](Bytes bytes) { to->say(Say::kMessage, 0, bytes); };
  setup.failed = std::move(dialled_failed);
  keep->mouth.fabric->link(
      std::move(setup),
      [raw = keep.get()](Result<std::unique_ptr<Link>> link) { raw->mouth.made(std::move(link)); });
  turn_until(loop, [&] { return pair.dialled && pair.dialled->view().state == "up"; });
  keep->mouth.link = nullptr;
  pair.listened = std::move(proxy);
  pair.keep = keep;
  return pair;
}

int child_pid(const fabric::Link& proxy) { return static_cast<const Proxy&>(proxy).pid(); }

}  // namespace shunt::window
