#include "sandbox/acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>

#include "netstack/base/log.h"
#include "netstack/local/fast_socket.h"
#include "sandbox/more_room.h"
#include "sandbox/remote.h"

namespace shunt::sandbox {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kKnock{60};  // after which an unanswered knock was lost
// While a connection is judged: its reset may be late or lost.
constexpr std::chrono::milliseconds kTick{2};
constexpr std::chrono::milliseconds kRetry{20};

// What an event of `ready_` is about: the cookie of a listener, a connection that is judged, or the
// timer. Cookies are counters and far from the highest bit.
constexpr std::uint64_t kJudged = std::uint64_t{1} << 63;
constexpr std::uint64_t kTimer = 0;

/// getpeername and accept: the address cut to the guest's length, then the true length.
int write_address(Guest& guest, const AcceptRequest& request, const Endpoint& endpoint,
                  int family) {
  if (request.address == 0) return 0;
  const GuestPtr<int> length_at{request.length};
  const auto room = guest.read(length_at);
  if (!room) return EFAULT;
  if (*room < 0) return EINVAL;
  const SockAddress address = to_sockaddr(endpoint, family);
  const auto bytes =
      std::as_bytes(std::span{&address.storage, 1})
          .first(std::min<std::size_t>(static_cast<std::size_t>(*room), address.length));
  if (!bytes.empty() && !guest.copy_out(request.address, bytes)) return EFAULT;
  if (!guest.write(length_at, static_cast<int>(address.length))) return EFAULT;
  return 0;
}

void set_nonblocking(int fd, bool on) {
  int value = on ? 1 : 0;
  ::ioctl(fd, FIONBIO, &value);
}

bool accepting(int socket) {
  int value = 0;
  socklen_t length = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value != 0;
}

bool nothing_waits(int listener) {
  pollfd entry{listener, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 0;
}

}  // namespace

Status Acceptor::start(Services* services) {
  services_ = services;
  timer_ = UniqueFd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kTimer;
  if (::epoll_ctl(ready_.get(), EPOLL_CTL_ADD, timer_.get(), &event) < 0)
    return last_error("epoll_ctl");
  auto watch = loop_.watch(ready_.get(), EPOLLIN, [this](std::uint32_t) { serve_ready(); });
  if (!watch) return watch.error();
  return Done{};
}

Result<Arrival> Acceptor::next(Listener& listener, int socket, Worker& worker) const {
  for (;;) {
    {
      const std::lock_guard guard{listener.mutex};
      if (!listener.returned.empty()) {
        Arrival arrival = std::move(listener.returned.front());
        listener.returned.pop_front();
        return arrival;
      }
    }
    // The address must come from accept itself: a connection that was reset in the queue, as those
    // of upgraded clients are, has no peer any more for getpeername(2).
    SockAddress peer;
    const Remote::Accepting until_expected{services_->remote};
    auto arriving = listener.arriving;
    auto tcp = worker.calls.accept(socket, 0, &peer);
    if (!tcp) return tcp.error();
    Arrival arrival;
    arrival.tcp = std::move(*tcp);
    arrival.arriving = std::move(arriving);
    arrival.since = Clock::now();
    arrival.client = from_sockaddr(peer.bytes()).value_or(Endpoint{});
    {
      const std::lock_guard guard{listener.mutex};
      const auto ours =
          std::find_if(listener.knocks.begin(), listener.knocks.end(),
                       [&](const Knock& knock) { return knock.from == arrival.client; });
      if (ours != listener.knocks.end()) {
        listener.knocks.erase(ours);
        continue;
      }
    }
    if (services_->network == nullptr || listener.mailbox == nullptr) {
      arrival.foreign = true;
      return arrival;
    }
    const auto pods = services_->network->owners(arrival.client.address);
    arrival.foreign = pods.empty();
    for (const auto& pod : pods) {
      const auto open = services_->network->table().undecided(pod->slot);
      if (open.any()) arrival.undecided.push_back(open);
    }
    Remote* remote = services_->remote;
    if (arrival.foreign && remote != nullptr &&
        remote->state(arrival.client.address) == control::State::kShunt) {
      arrival.server = local_endpoint(arrival.tcp.get()).value_or(Endpoint{});
      arrival.no_offers = !remote->expect(arrival.client, arrival.server);
      arrival.foreign = false;
      arrival.remote = remote;
    }
    return arrival;
  }
}

Reply Acceptor::hand_out(const AcceptRequest& request, Guest& guest,
                         std::shared_ptr<Listener> listener, Arrival arrival,
                         Verdict verdict) const {
  const bool fast = verdict == Verdict::kFast;
  // Nothing may be written into the memory of somebody else; ADDFD sees for itself.
  if (request.address != 0 && !guest.waiting()) {
    put_back(listener, std::move(arrival));
    return Fail{EINTR};  // nobody hears it
  }
  if (const int error = write_address(guest, request, arrival.client, listener->family); error != 0)
    return Fail{error};  // as in Linux, the connection is lost

  if (fast) {
    const int socket = arrival.offer->socket.get();
    const auto options = services_->notes.get(listener->cookie);
    if (arrival.offer->kind == local::PairKind::kUnix) {
      if (arrival.offer->decision == nullptr)  // a fabric's engine knows best what its end needs
        local::prepare_accepted_end(
            socket, std::min(services_->network->options().send_buffer,
                             local::first_buffer(arrival.client, arrival.offer->server)));
      if (!options->empty())
        if (const auto cookie = socket_cookie(socket)) services_->notes.put(*cookie, options);
    } else {
      for (const SocketOption& option : *options)
        ::setsockopt(socket, option.level, option.name, option.value.data(),
                     static_cast<socklen_t>(option.value.size()));
    }
    if (arrival.offer->decision != nullptr) {
      const linger none{};
      ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    local::carry_socket_options(arrival.tcp.get(), socket);
  }
  const Path path = fast && arrival.offer->decision ? Path::kAcceptedOverFabric
                    : fast                          ? Path::kAcceptedFast
                    : arrival.foreign               ? Path::kAcceptedFromOutside
                                                    : Path::kAcceptedKernel;
  // Nor did one of a Shunt pod that leaves its connections to the kernel offer anything.
  const bool stranger =
      path == Path::kAcceptedFromOutside ||
      (path == Path::kAcceptedKernel && !arrival.offer &&
       (arrival.remote == nullptr ? arrival.undecided.empty() : arrival.no_offers));
  InstallFd reply;
  reply.fd = std::move(fast ? arrival.offer->socket : arrival.tcp);
  reply.close_on_exec = (request.flags & SOCK_CLOEXEC) != 0;
  // Ends from a mailbox are non-blocking, accepted sockets are not.
  const bool nonblocking = (request.flags & SOCK_NONBLOCK) != 0;
  if (nonblocking != fast) set_nonblocking(reply.fd.get(), nonblocking);
  reply.after = [this, path, fast, stranger, listener = std::move(listener),
                 arrival = std::move(arrival)](const Status& delivered, UniqueFd fd) mutable {
    if (delivered) {
      services_->statistics.count(path);
      if (fast && path != Path::kAcceptedOverFabric && services_->more_room != nullptr)
        services_->more_room->handed_out();
      listener->left_to_kernel.handed_out(stranger, arrival.client.address);
      return;
    }
    (fast ? arrival.offer->socket : arrival.tcp) = std::move(fd);
    put_back(listener, std::move(arrival));
  };
  return reply;
}

void Acceptor::put_back(const std::shared_ptr<Listener>& listener, Arrival arrival) const {
  {
    const std::lock_guard guard{listener->mutex};
    listener->returned.push_front(std::move(arrival));
  }
  knock(*listener);
}

// The kernel's queue may now be empty while we hold a connection: a program that waits for its
// listener to become readable would never ask. A connection of our own makes it ask.
void Acceptor::knock(Listener& listener) const {
  if (services_->network == nullptr) return;
  const auto now = Clock::now();
  {
    const std::lock_guard guard{listener.mutex};
    std::erase_if(listener.knocks, [&](const Knock& knock) { return knock.at + kKnock < now; });
    if (!listener.knocks.empty()) return;  // one is on its way
  }
  const auto socket = services_->network->make_tcp_socket(listener.family);
  if (!socket) return;
  set_nonblocking(socket->get(), true);
  Endpoint target = listener.local;
  if (is_unspecified(target.address))
    target.address = *parse_address(listener.family == AF_INET ? "127.0.0.1" : "::1");
  const SockAddress address = to_sockaddr(target, listener.family);
  // Bound first: it must be known as a knock before anybody can accept it.
  const SockAddress own = to_sockaddr({target.address, 0}, listener.family);
  if (::bind(socket->get(), own.get(), own.length) < 0) return;
  const auto from = local_endpoint(socket->get());
  if (!from) return;
  {
    const std::lock_guard guard{listener.mutex};
    listener.knocks.push_back({*from, now});
  }
  static_cast<void>(::connect(socket->get(), address.get(), address.length));  // it is waited for
}

bool Acceptor::has_nothing_of(Listener& listener) {
  {
    const std::lock_guard guard{listener.mutex};
    if (!listener.returned.empty() || !listener.knocks.empty()) return false;
  }
  const std::lock_guard guard{mutex_};
  return !queues_.contains(listener.cookie) &&
         std::none_of(judging_.begin(), judging_.end(),
                      [&](const auto& entry) { return entry.second.listener.get() == &listener; });
}

Reply Acceptor::accept(Call& call, AcceptRequest request, std::shared_ptr<Listener> listener,
                       UniqueFd socket) {
  // Being told that nothing waits is cheaper than trying; but a connection that was handed back is
  // not in the kernel's queue.
  bool empty = nothing_waits(socket.get());
  if (empty) {
    const std::lock_guard guard{listener->mutex};
    empty = listener->returned.empty();
  }
  std::optional<Result<Arrival>> arrival;
  if (!empty) arrival = next(*listener, socket.get(), call.worker);
  if (!arrival || !*arrival) {
    const int error = arrival ? arrival->error().number : EAGAIN;
    if (error != EAGAIN) return Fail{error};
    // It was a listener once; what it is now, poll(2) does not tell.
    if (!accepting(socket.get())) return RunInKernel{};
    const int flags = ::fcntl(socket.get(), F_GETFL);
    if (flags < 0 || (flags & O_NONBLOCK) != 0) return Fail{EAGAIN};
    return park(std::move(request), std::move(listener), std::move(socket));
  }
  const Verdict verdict = judge(services_->network, *listener, **arrival);
  if (verdict != Verdict::kWait)
    return hand_out(request, call.guest, std::move(listener), std::move(**arrival), verdict);
  wait_for_verdict(std::move(request), std::move(listener), std::move(**arrival));
  return Later{};
}

// An entry of `ready_` is named by the open file and the number it had here, and vanishes with the
// file. A duplicate mostly gets the number that the last one had, and is the entry then. If not, it
// is given a number that is always the same: under numbers that grow with the shim's descriptors a
// listener would get more and more entries, until the kernel refuses (some 500: EINVAL).
Status Acceptor::arm_listener(int socket, Listener& listener) const {
  if (listener.armed_as < 0) listener.armed_as = socket;
  if (listener.armed_as == socket) return arm(socket, listener.cookie);
  if (::dup3(socket, place_.get(), O_CLOEXEC) < 0) return last_error("dup3");
  Status armed = arm(place_.get(), listener.cookie);
  ::dup3(ready_.get(), place_.get(), O_CLOEXEC);  // lets go of the listener
  return armed;
}

// One event for one arming.
Status Acceptor::arm(int socket, std::uint64_t key) const {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT;  // what came in before is seen at once
  event.data.u64 = key;
  const bool judged = (key & kJudged) != 0;  // mostly for the first time; a listener mostly again
  const int likely = judged ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (::epoll_ctl(ready_.get(), likely, socket, &event) == 0) return Done{};
  if (errno == (judged ? EEXIST : ENOENT) &&
      ::epoll_ctl(ready_.get(), judged ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) == 0)
    return Done{};
  return last_error("epoll_ctl");
}

Reply Acceptor::park(AcceptRequest request, std::shared_ptr<Listener> listener, UniqueFd socket) {
  request.call.since = {};  // from here on the guest's own waiting
  const std::uint64_t cookie = listener->cookie;
  const std::uint64_t id = request.call.id;
  timeval timeout{};
  socklen_t length = sizeof timeout;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, &length);
  const auto limit =
      std::chrono::seconds{timeout.tv_sec} + std::chrono::microseconds{timeout.tv_usec};
  {
    const std::lock_guard guard{mutex_};
    if (!arm_listener(socket.get(), *listener)) return Fail{ENOBUFS};
    Queue& queue = queues_[cookie];
    queue.listener = std::move(listener);
    queue.calls.push_back(std::move(request));
  }
  if (limit.count() > 0) {
    post_([this, cookie, id, limit] {
      loop_.after(limit, [this, cookie, id] { time_out(cookie, id); });
    });
  }
  return Later{};
}

void Acceptor::time_out(std::uint64_t cookie, std::uint64_t id) {
  std::optional<AcceptRequest> late;
  {
    const std::lock_guard guard{mutex_};
    const auto found = queues_.find(cookie);
    if (found == queues_.end()) return;
    std::deque<AcceptRequest>& calls = found->second.calls;
    const auto call = std::find_if(calls.begin(), calls.end(), [id](const AcceptRequest& entry) {
      return entry.call.id == id;
    });
    if (call == calls.end()) return;
    late = std::move(*call);
    calls.erase(call);
    if (calls.empty()) queues_.erase(found);
  }
  deliver(*services_, late->call, Fail{EAGAIN});
}

void Acceptor::serve_ready() {
  std::array<epoll_event, 16> batch{};
  const int n = ::epoll_wait(ready_.get(), batch.data(), static_cast<int>(batch.size()), 0);
  for (int i = 0; i < n; ++i) {
    const std::uint64_t key = batch[static_cast<std::size_t>(i)].data.u64;
    if (key == kTimer) {
      look_at_all();
    } else if ((key & kJudged) != 0) {
      look_again(key);
    } else {
      serve_parked(key);
    }
  }
}

// The first call whose program still has the listener, and a duplicate of it. The others are left
// in line: interrupted ones are dropped in time, and if another thread closed the number while its
// sibling waited, that one waits on, as in Linux.
std::optional<AcceptRequest> Acceptor::take_parked(std::uint64_t cookie,
                                                   std::shared_ptr<Listener>& listener,
                                                   UniqueFd& socket) {
  const std::lock_guard guard{mutex_};
  const auto found = queues_.find(cookie);
  if (found == queues_.end()) return std::nullopt;
  std::deque<AcceptRequest>& calls = found->second.calls;
  for (auto call = calls.begin(); call != calls.end(); ++call) {
    if (!call->call.waiting()) continue;
    auto fetched = worker_.pidfds.fetch(call->call.tid, call->number);
    if (!fetched && fetched.error().number != EBADF && fetched.error().number != ESRCH)
      loop_.after(kRetry, [this, cookie] { serve_parked(cookie); });  // no memory, no descriptors
    if (!fetched) continue;
    if (const auto theirs = socket_cookie(fetched->get()); !theirs || *theirs != cookie) continue;
    std::optional<AcceptRequest> taken = std::move(*call);
    socket = std::move(*fetched);
    listener = found->second.listener;
    calls.erase(call);
    if (calls.empty()) {
      queues_.erase(found);
    } else if (!arm_listener(socket.get(), *listener)) {
      log::warn("sandbox", "accept: {}", describe(last_error("epoll_ctl")));
    }
    return taken;
  }
  return std::nullopt;
}

// One connection for one call; if there are more of both, `ready_` says so again.
void Acceptor::serve_parked(std::uint64_t cookie) {
  std::shared_ptr<Listener> listener;
  UniqueFd socket;
  std::optional<AcceptRequest> request = take_parked(cookie, listener, socket);
  if (!request) return;
  auto arrival = next(*listener, socket.get(), worker_);
  if (!arrival && arrival.error().number == EAGAIN) {  // somebody else was faster
    const std::lock_guard guard{mutex_};
    if (!arm_listener(socket.get(), *listener)) return;
    Queue& queue = queues_[cookie];
    queue.listener = std::move(listener);
    queue.calls.push_front(std::move(*request));
    return;
  }
  socket.reset();
  if (!arrival) {
    deliver(*services_, request->call, Fail{arrival.error().number});
    return;
  }
  const Verdict verdict = judge(services_->network, *listener, *arrival);
  if (verdict == Verdict::kWait) {
    wait_for_verdict(std::move(*request), std::move(listener), std::move(*arrival));
  } else {
    answer(*request, std::move(listener), std::move(*arrival), verdict);
  }
}

void Acceptor::wait_for_verdict(AcceptRequest request, std::shared_ptr<Listener> listener,
                                Arrival arrival) {
  const std::lock_guard guard{mutex_};
  const std::uint64_t key = kJudged | ++last_key_;
  const Judging& entry =
      judging_.emplace(key, Judging{std::move(request), std::move(listener), std::move(arrival)})
          .first->second;
  // The reset that confirms, or data, or the end: all make the TCP socket readable. Without the
  // entry the timer finds out.
  if (const Status armed = arm(entry.arrival.tcp.get(), key); !armed)
    log::debug("sandbox", "accept: {}", describe(armed.error()));
  // Left running from one connection to the next: starting a timer is dear, more so in a VM.
  judged_ = true;
  if (ticking_) return;
  ticking_ = true;
  set_tick(kTick);
}

void Acceptor::set_tick(std::chrono::nanoseconds period) const {
  const itimerspec tick{{0, period.count()}, {0, period.count()}};
  ::timerfd_settime(timer_.get(), 0, &tick, nullptr);
}

void Acceptor::look_at_all() {
  std::uint64_t expirations = 0;
  [[maybe_unused]] const auto got = ::read(timer_.get(), &expirations, sizeof expirations);
  std::vector<std::uint64_t> keys;
  {
    const std::lock_guard guard{mutex_};
    for (const auto& [key, entry] : judging_) keys.push_back(key);
    if (keys.empty() && !judged_) {
      ticking_ = false;
      set_tick({});
    }
    judged_ = false;
  }
  for (const std::uint64_t key : keys) look_again(key);
}

void Acceptor::look_again(std::uint64_t key) {
  std::optional<Judging> entry;
  {
    const std::lock_guard guard{mutex_};
    const auto found = judging_.find(key);
    if (found == judging_.end()) return;
    entry = std::move(found->second);
    judging_.erase(found);
  }
  if (!entry->request.call.waiting()) {
    ::epoll_ctl(ready_.get(), EPOLL_CTL_DEL, entry->arrival.tcp.get(), nullptr);
    put_back(entry->listener, std::move(entry->arrival));
    return;
  }
  const Verdict verdict = judge(services_->network, *entry->listener, entry->arrival);
  if (verdict == Verdict::kWait) {
    const std::lock_guard guard{mutex_};
    [[maybe_unused]] const Status armed = arm(entry->arrival.tcp.get(), key);
    judging_.emplace(key, std::move(*entry));
    return;
  }
  // A program that gets the TCP socket gets it without our entry.
  if (verdict == Verdict::kTcp)
    ::epoll_ctl(ready_.get(), EPOLL_CTL_DEL, entry->arrival.tcp.get(), nullptr);
  answer(entry->request, std::move(entry->listener), std::move(entry->arrival), verdict);
}

void Acceptor::nudge() {
  post_([this] { look_at_all(); });
}

void Acceptor::answer(const AcceptRequest& request, std::shared_ptr<Listener> listener,
                      Arrival arrival, Verdict verdict) {
  ProcessGuest guest{request.call.tid, request.call.id, request.call.container->notify,
                     worker_.pidfds};
  deliver(*services_, request.call,
          hand_out(request, guest, std::move(listener), std::move(arrival), verdict));
}

void Acceptor::drop_gone() {
  const std::lock_guard guard{mutex_};
  for (auto queue = queues_.begin(); queue != queues_.end();) {
    std::erase_if(queue->second.calls,
                  [](const AcceptRequest& request) { return !request.call.waiting(); });
    queue = queue->second.calls.empty() ? queues_.erase(queue) : std::next(queue);
  }
}

}  // namespace shunt::sandbox
