// The side that dialled the control connection goes to the other one's socket and greets; that one
// matches the greeting with the link it was asked for, in whatever order the two come, and greets
// back. Then both have each other's memory and bell. Each also sends its nonce over the control
// connection, and nothing moves before that has come (WindowMover).
#include "netstack/window/window_fabric.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <list>
#include <optional>

#include "netstack/base/log.h"
#include "netstack/window/greeting.h"
#include "netstack/window/rendezvous.h"

namespace shunt::window {
namespace {

/// Connections that came before the link they belong to; more are not taken.
constexpr std::size_t kMostEarly = 64;

template <typename Array>
Array random_bytes() {
  Array bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  return bytes;
}

/// Every kernel start has its own; 36 characters with dashes.
std::array<std::byte, 16> boot_id() {
  std::array<std::byte, 16> id{};
  std::array<char, 64> text{};
  const UniqueFd file{::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)};
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  std::size_t digit = 0;
  for (ssize_t i = 0; i < size && digit < 32; ++i) {
    const char c = text[static_cast<std::size_t>(i)];
    const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0) continue;
    id[digit / 2] |= static_cast<std::byte>(digit % 2 == 0 ? value << 4 : value);
    ++digit;
  }
  return id;
}

class WindowFabric final : public fabric::Fabric {
 public:
  WindowFabric(EventLoop& loop, Options options, Advert own, UniqueFd socket)
      : loop_{loop}, options_{std::move(options)}, own_{own}, socket_{std::move(socket)} {}
  ~WindowFabric() override;
  Status start();

  fabric::Kind kind() const override { return fabric::Kind::kWindow; }
  fabric::Bytes advertise() const override { return encode(own_); }
  Result<std::monostate, std::string> fits(fabric::View hello) const override;
  void link(fabric::LinkSetup setup, fabric::LinkDone done) override;

 private:
  /// One link being set up.
  struct Attempt {
    fabric::LinkSetup setup;
    fabric::LinkDone done;
    Instance peer{};
    Nonce peer_secret{};
    Nonce nonce = random_bytes<Nonce>();
    std::uint32_t epoch = 0;
    SharedMemory memory;
    UniqueFd bell;
    UniqueFd connection;  ///< once there is one
    EventLoop::Token watch = 0, timer = 0;
  };
  /// A connection whose greeting, or whose link, has not come yet.
  struct Visitor {
    UniqueFd connection;
    EventLoop::Token watch = 0, timer = 0;
    std::optional<std::pair<Greeting, Delivery>> greeting;
  };
  using Attempts = std::list<Attempt>;
  using Visitors = std::list<Visitor>;

  std::string path_of(const Instance& instance) const {
    return options_.directory + "/" + socket_name(instance);
  }
  Status prepare(Attempt& attempt);
  Status greet(Attempt& attempt) const;
  void go_there(Attempts::iterator attempt);
  void on_visitor();
  void on_greeting(Visitors::iterator visitor);
  void match();
  void forget(Visitors::iterator visitor);
  void join(Attempts::iterator attempt, const Greeting& greeting, Delivery delivery);
  void give_up(Attempts::iterator attempt, Error error);
  void close(Attempt& attempt);

  EventLoop& loop_;
  Options options_;
  Advert own_;
  UniqueFd socket_;
  EventLoop::Token watch_ = 0;
  Attempts attempts_;
  Visitors visitors_;
};

Status WindowFabric::start() {
  const auto watch = loop_.watch(socket_.get(), EPOLLIN, [this](std::uint32_t) { on_visitor(); });
  if (!watch) return watch.error();
  watch_ = *watch;
  return Done{};
}

WindowFabric::~WindowFabric() {
  loop_.forget(watch_);
  ::unlink(path_of(own_.instance).c_str());
  while (!visitors_.empty()) forget(visitors_.begin());
  while (!attempts_.empty()) give_up(attempts_.begin(), {ECANCELED, "window fabric"});
}

Result<std::monostate, std::string> WindowFabric::fits(fabric::View hello) const {
  const auto theirs = decode_advert(hello);
  if (!theirs) return std::string{"its window hello makes no sense"};
  if (theirs->host != own_.host) return std::string{"it runs on another kernel"};
  if (theirs->device != own_.device || theirs->inode != own_.inode)
    return std::string{"it uses another window directory"};
  return std::monostate{};
}

Status WindowFabric::prepare(Attempt& attempt) {
  auto memory = SharedMemory::make(window_size(options_.memory));
  if (!memory) return memory.error();
  attempt.memory = std::move(*memory);
  attempt.bell = UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!attempt.bell.valid()) return last_error("eventfd");
  const auto epoch = random_bytes<std::array<std::byte, 4>>();
  for (const std::byte byte : epoch)
    attempt.epoch = attempt.epoch << 8 | std::to_integer<unsigned>(byte);
  return Done{};
}

void WindowFabric::link(fabric::LinkSetup setup, fabric::LinkDone done) {
  const auto theirs = decode_advert(setup.hello);
  if (!theirs) return done(theirs.error());
  const auto attempt = attempts_.emplace(attempts_.end());
  attempt->setup = std::move(setup);
  attempt->done = std::move(done);
  attempt->peer = theirs->instance;
  attempt->peer_secret = theirs->secret;
  if (const Status prepared = prepare(*attempt); !prepared)
    return give_up(attempt, prepared.error());
  attempt->timer = loop_.after(options_.wait, [this, attempt] {
    attempt->timer = 0;
    give_up(attempt, {ETIMEDOUT, "window rendezvous"});
  });
  if (attempt->setup.dialled)
    go_there(attempt);
  else
    match();
}

Status WindowFabric::greet(Attempt& attempt) const {
  const Greeting greeting{own_.instance, attempt.peer_secret, attempt.nonce, options_.memory,
                          attempt.epoch};
  return deliver(attempt.connection.get(), encode(greeting), attempt.memory.fd(),
                 attempt.bell.get());
}

void WindowFabric::go_there(Attempts::iterator attempt) {
  auto connection = connect_to(path_of(attempt->peer));
  if (!connection) return give_up(attempt, connection.error());
  attempt->connection = std::move(*connection);
  if (const Status greeted = greet(*attempt); !greeted) return give_up(attempt, greeted.error());
  const auto watch =
      loop_.watch(attempt->connection.get(), EPOLLIN, [this, attempt](std::uint32_t) {
        auto delivery = collect(attempt->connection.get());
        if (!delivery && delivery.error().number == EAGAIN) return;
        if (!delivery) return give_up(attempt, delivery.error());
        const auto greeting = decode_greeting(delivery->message);
        if (!greeting) return give_up(attempt, greeting.error());
        if (greeting->from != attempt->peer || greeting->secret != own_.secret)
          return give_up(attempt, {EPROTO, "window greeting"});
        join(attempt, *greeting, std::move(*delivery));
      });
  if (!watch) return give_up(attempt, watch.error());
  attempt->watch = *watch;
}

void WindowFabric::on_visitor() {
  UniqueFd connection{::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!connection.valid() || visitors_.size() >= kMostEarly) return;
  ucred who{};
  socklen_t length = sizeof who;
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) < 0 ||
      who.uid != ::geteuid())
    return;
  const auto visitor = visitors_.emplace(visitors_.end());
  visitor->connection = std::move(connection);
  visitor->timer = loop_.after(options_.wait, [this, visitor] {
    visitor->timer = 0;
    forget(visitor);
  });
  const auto watch = loop_.watch(visitor->connection.get(), EPOLLIN,
                                 [this, visitor](std::uint32_t) { on_greeting(visitor); });
  if (!watch) return forget(visitor);
  visitor->watch = *watch;
}

void WindowFabric::on_greeting(Visitors::iterator visitor) {
  if (visitor->greeting) return forget(visitor);  // it said more, or hung up
  auto delivery = collect(visitor->connection.get());
  if (!delivery && delivery.error().number == EAGAIN) return;
  if (!delivery) return forget(visitor);
  const auto greeting = decode_greeting(delivery->message);
  if (!greeting || greeting->secret != own_.secret) return forget(visitor);
  visitor->greeting.emplace(*greeting, std::move(*delivery));
  match();
}

void WindowFabric::match() {
  for (auto attempt = attempts_.begin(); attempt != attempts_.end(); ++attempt) {
    if (attempt->setup.dialled) continue;
    const auto visitor = std::find_if(visitors_.begin(), visitors_.end(), [&](const Visitor& each) {
      return each.greeting && each.greeting->first.from == attempt->peer;
    });
    if (visitor == visitors_.end()) continue;
    attempt->connection = std::move(visitor->connection);
    loop_.forget(visitor->watch);
    visitor->watch = 0;
    auto [greeting, delivery] = std::move(*visitor->greeting);
    forget(visitor);
    if (const Status greeted = greet(*attempt); !greeted) return give_up(attempt, greeted.error());
    return join(attempt, greeting, std::move(delivery));
  }
}

void WindowFabric::forget(Visitors::iterator visitor) {
  loop_.forget(visitor->watch);
  loop_.forget(visitor->timer);
  visitors_.erase(visitor);
}

void WindowFabric::close(Attempt& attempt) {
  loop_.forget(attempt.watch);
  loop_.forget(attempt.timer);
}

void WindowFabric::give_up(Attempts::iterator attempt, Error error) {
  close(*attempt);
  auto done = std::move(attempt->done);
  attempts_.erase(attempt);
  done(error);
}

void WindowFabric::join(Attempts::iterator attempt, const Greeting& greeting, Delivery delivery) {
  auto theirs = SharedMemory::map(std::move(delivery.window), window_size(greeting.region));
  if (!theirs) return give_up(attempt, theirs.error());
  close(*attempt);
  Attempt made = std::move(*attempt);
  attempts_.erase(attempt);
  Joined joined;
  joined.own = std::move(made.memory);
  joined.own_bell = std::move(made.bell);
  joined.peer = options_.peer_memory
                    ? options_.peer_memory(std::move(*theirs), std::move(delivery.bell))
                    : std::make_unique<PeerMemory>(std::move(*theirs), std::move(delivery.bell));
  joined.own_region = options_.memory;
  joined.peer_region = greeting.region;
  joined.connection = std::move(made.connection);
  joined.peer_nonce = greeting.nonce;
  joined.own_epoch = made.epoch;
  joined.peer_epoch = greeting.epoch;
  auto mover = std::make_unique<WindowMover>(loop_, std::move(joined), options_.mover);
  made.setup.send({made.nonce.begin(), made.nonce.end()});
  made.done(ring::make_link(loop_, fabric::Kind::kWindow, std::move(mover), made.setup.peer_name,
                            std::move(made.setup.failed), options_.ring));
}

}  // namespace

Result<std::unique_ptr<fabric::Fabric>> make_fabric(EventLoop& loop, Options options) {
  options.memory = std::clamp(options.memory / kSlab * kSlab, kLeastRegion, kMostRegion);
  struct stat status {};
  if (::stat(options.directory.c_str(), &status) < 0) return last_error("stat");
  if (!S_ISDIR(status.st_mode)) return Error{ENOTDIR, "window directory"};
  Advert own;
  own.host = boot_id();
  own.device = status.st_dev;
  own.inode = status.st_ino;
  own.instance = random_bytes<Instance>();
  own.secret = random_bytes<Nonce>();
  auto socket = listen_at(options.directory + "/" + socket_name(own.instance));
  if (!socket) return socket.error();
  auto fabric = std::make_unique<WindowFabric>(loop, std::move(options), own, std::move(*socket));
  if (const Status started = fabric->start(); !started) return started.error();
  return std::unique_ptr<fabric::Fabric>{std::move(fabric)};
}

}  // namespace shunt::window
