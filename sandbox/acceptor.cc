#include "sandbox/acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "netstack/local/fast_socket.h"

namespace shunt::sandbox {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kPatience{5};    // with a client that has not decided
constexpr milliseconds kTakenBack{2};   // between the client's end closing and its reset arriving
constexpr milliseconds kAskKernel{10};  // after which a lost reset is suspected
constexpr std::uint64_t kSomebodyDied = 0;  // among cookies, which begin at 1
constexpr std::chrono::seconds kKnock{60};  // after which an unanswered knock was lost
constexpr int kYields = 24;                 // before a call is handed to the loop

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

/// Readable once the thread (before Linux 6.9: its process, if it is the leader) is dead.
UniqueFd open_thread(pid_t tid) {
  constexpr unsigned kThread = O_EXCL;  // PIDFD_THREAD
  UniqueFd fd{static_cast<int>(::syscall(SYS_pidfd_open, tid, kThread))};
  if (!fd.valid()) fd = UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, tid, 0))};
  return fd;
}

void set_nonblocking(int fd, bool on) {
  int value = on ? 1 : 0;
  ::ioctl(fd, FIONBIO, &value);
}

}  // namespace

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
    auto tcp = worker.calls.accept(socket, 0, &peer);
    if (!tcp) return tcp.error();
    Arrival arrival;
    arrival.tcp = std::move(*tcp);
    arrival.since = Clock::now();
    arrival.client = from_sockaddr(peer.bytes()).value_or(Endpoint{});
    arrival.server = local_endpoint(arrival.tcp.get()).value_or(Endpoint{});
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
    return arrival;
  }
}

Acceptor::Verdict Acceptor::judge(const Listener& listener, Arrival& arrival) const {
  if (listener.mailbox == nullptr) return Verdict::kTcp;
  const local::Peek tcp = local::peek(arrival.tcp.get());
  // A client whose pod has left since looks like a stranger; but its connection is over.
  if (arrival.foreign && (tcp == local::Peek::kSilent || tcp == local::Peek::kData))
    return Verdict::kTcp;
  const auto age = Clock::now() - arrival.since;
  local::NodeTable& table = services_->network->table();
  const auto look = [&] {
    if (!arrival.offer) arrival.offer = listener.mailbox->take(arrival.client, arrival.server);
    return arrival.offer.has_value();
  };
  if (!look()) {
    const bool open = std::any_of(arrival.undecided.begin(), arrival.undecided.end(),
                                  [&](const auto& since) { return !table.decided(since); });
    if (open && age < kPatience) return Verdict::kWait;
    if (open)
      for (const auto& since : arrival.undecided) table.refuse(since);
    // Decided since the first look, or refused now: whatever was offered is in the mailbox.
    if (!look()) return Verdict::kTcp;
  }

  const local::Peek fast = local::peek(arrival.offer->socket.get());
  if (fast == local::Peek::kData) return Verdict::kFast;
  if (tcp == local::Peek::kData) return Verdict::kTcp;  // the program itself has the TCP socket
  if (tcp != local::Peek::kSilent) return Verdict::kFast;
  if (fast == local::Peek::kSilent && age < kAskKernel) return Verdict::kWait;
  if (fast != local::Peek::kSilent && age < kTakenBack) return Verdict::kWait;
  // The offer was taken back, or it holds and the reset that says so is late or lost. The kernel of
  // the client's namespace knows: in the first case the program still has its TCP socket.
  for (const auto& pod : services_->network->owners(arrival.client.address)) {
    const auto state = services_->network->look_up(*pod, arrival.client, arrival.server);
    if (state && state->established)
      return fast == local::Peek::kSilent ? Verdict::kWait : Verdict::kTcp;
  }
  return Verdict::kFast;
}

// Most undecided connections are decided within microseconds.
Acceptor::Verdict Acceptor::judge_patiently(const Listener& listener, Arrival& arrival) const {
  Verdict verdict = judge(listener, arrival);
  for (int i = 0; verdict == Verdict::kWait && i < kYields; ++i) {
    ::sched_yield();  // on one CPU, the client's supervisor needs ours
    verdict = judge(listener, arrival);
  }
  return verdict;
}

Reply Acceptor::hand_out(const AcceptRequest& request, Guest& guest,
                         std::shared_ptr<Listener> listener, Arrival arrival,
                         Verdict verdict) const {
  const bool fast = verdict == Verdict::kFast;
  if (!guest.waiting()) {
    put_back(listener, std::move(arrival));
    return Fail{EINTR};  // nobody hears it
  }
  if (const int error = write_address(guest, request, arrival.client, listener->family); error != 0)
    return Fail{error};  // as in Linux, the connection is lost

  if (fast) {
    const int socket = arrival.offer->socket.get();
    const auto options = services_->notes.get(listener->cookie);
    if (arrival.offer->kind == local::PairKind::kUnix) {
      local::prepare_accepted_end(socket, services_->network->options().send_buffer);
      if (!options->empty())
        if (const auto cookie = socket_cookie(socket)) services_->notes.put(*cookie, options);
    } else {
      for (const SocketOption& option : *options)
        ::setsockopt(socket, option.level, option.name, option.value.data(),
                     static_cast<socklen_t>(option.value.size()));
    }
    local::carry_socket_options(arrival.tcp.get(), socket);
  }
  const Path path = fast              ? Path::kAcceptedFast
                    : arrival.foreign ? Path::kAcceptedFromOutside
                                      : Path::kAcceptedKernel;
  InstallFd reply;
  reply.fd = std::move(fast ? arrival.offer->socket : arrival.tcp);
  reply.close_on_exec = (request.flags & SOCK_CLOEXEC) != 0;
  // Ends from a mailbox are non-blocking, accepted sockets are not.
  const bool nonblocking = (request.flags & SOCK_NONBLOCK) != 0;
  if (nonblocking != fast) set_nonblocking(reply.fd.get(), nonblocking);
  reply.after = [this, path, fast, listener = std::move(listener), arrival = std::move(arrival)](
                    const Status& delivered, UniqueFd fd) mutable {
    if (delivered) {
      services_->statistics.count(path);
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
  ::connect(socket->get(), address.get(), address.length);
}

Reply Acceptor::accept(Call& call, AcceptRequest request, std::shared_ptr<Listener> listener,
                       UniqueFd socket) {
  auto arrival = next(*listener, socket.get(), call.worker);
  if (!arrival) {
    const int error = arrival.error().number;
    const int flags = ::fcntl(socket.get(), F_GETFL);
    if (error != EAGAIN || flags < 0 || (flags & O_NONBLOCK) != 0) return Fail{error};
    return park(std::move(request), std::move(listener), std::move(socket));
  }
  const Verdict verdict = judge_patiently(*listener, *arrival);
  if (verdict != Verdict::kWait)
    return hand_out(request, call.guest, std::move(listener), std::move(*arrival), verdict);
  auto shared = std::make_shared<Arrival>(std::move(*arrival));
  post_([this, request = std::move(request), listener = std::move(listener), shared] {
    wait_for_verdict(request, listener, std::move(*shared));
  });
  return Later{};
}

Reply Acceptor::park(AcceptRequest request, std::shared_ptr<Listener> listener, UniqueFd socket) {
  request.call.since = {};  // from here on the guest's own waiting
  const std::uint64_t cookie = listener->cookie;
  timeval timeout{};
  socklen_t length = sizeof timeout;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, &length);
  const auto limit =
      std::chrono::seconds{timeout.tv_sec} + std::chrono::microseconds{timeout.tv_usec};
  const std::uint64_t id = request.call.id;
  {
    const std::lock_guard guard{mutex_};
    Queue& queue = queues_[cookie];
    if (queue.listener == nullptr) {
      queue.listener = std::move(listener);
      queue.socket = std::move(socket);
      epoll_event event{};
      event.events = EPOLLIN;  // level-triggered: what came in between is seen
      event.data.u64 = cookie;
      if (::epoll_ctl(ready_.get(), EPOLL_CTL_ADD, queue.socket.get(), &event) < 0) {
        queues_.erase(cookie);
        return Fail{ENOBUFS};
      }
    }
    // Our duplicate must not keep the listener of a dead program open.
    UniqueFd thread = open_thread(request.call.tid);
    epoll_event death{};
    death.events = EPOLLIN | EPOLLONESHOT;
    death.data.u64 = kSomebodyDied;
    if (thread.valid()) ::epoll_ctl(ready_.get(), EPOLL_CTL_ADD, thread.get(), &death);
    queue.calls.push_back({std::move(request), std::move(thread)});
  }
  if (limit.count() > 0) {
    post_([this, cookie, id, limit] {
      loop_.after(limit, [this, cookie, id] { time_out(cookie, id); });
    });
  }
  return Later{};
}

void Acceptor::time_out(std::uint64_t cookie, std::uint64_t id) {
  std::optional<Waiting> late;
  {
    const std::lock_guard guard{mutex_};
    const auto found = queues_.find(cookie);
    if (found == queues_.end()) return;
    std::deque<Waiting>& calls = found->second.calls;
    const auto call = std::find_if(calls.begin(), calls.end(), [id](const Waiting& entry) {
      return entry.request.call.id == id;
    });
    if (call == calls.end()) return;
    late = std::move(*call);
    calls.erase(call);
    end_if_empty(found);
  }
  deliver(*services_, late->request.call, Fail{EAGAIN});
}

void Acceptor::serve_ready() {
  std::array<epoll_event, 16> batch{};
  const int n = ::epoll_wait(ready_.get(), batch.data(), static_cast<int>(batch.size()), 0);
  for (int i = 0; i < n; ++i) {
    const std::uint64_t cookie = batch[static_cast<std::size_t>(i)].data.u64;
    if (cookie == kSomebodyDied) drop_gone();
    while (serve_one(cookie)) {
    }
  }
}

// Requires: mutex_.
void Acceptor::end_if_empty(std::map<std::uint64_t, Queue>::iterator queue) {
  if (!queue->second.calls.empty()) return;
  ::epoll_ctl(ready_.get(), EPOLL_CTL_DEL, queue->second.socket.get(), nullptr);
  queues_.erase(queue);  // and with it our hold on the listener
}

// One connection for one call. False: nothing more to do for now.
bool Acceptor::serve_one(std::uint64_t cookie) {
  std::shared_ptr<Listener> listener;
  std::optional<Waiting> first;
  std::optional<Result<Arrival>> arrival;
  {
    const std::lock_guard guard{mutex_};
    const auto found = queues_.find(cookie);
    if (found == queues_.end()) return false;
    Queue& queue = found->second;
    listener = queue.listener;
    while (!queue.calls.empty() && !queue.calls.front().request.call.waiting()) {
      queue.calls.pop_front();
    }
    if (!queue.calls.empty()) {
      arrival = next(*listener, queue.socket.get(), worker_);
      if (!*arrival && arrival->error().number == EAGAIN) return false;
      first = std::move(queue.calls.front());
      queue.calls.pop_front();
    }
    end_if_empty(found);
  }
  if (!first) return false;
  if (!*arrival) {
    deliver(*services_, first->request.call, Fail{arrival->error().number});
    return true;
  }
  const Verdict verdict = judge_patiently(*listener, **arrival);
  if (verdict == Verdict::kWait) {
    wait_for_verdict(first->request, std::move(listener), std::move(**arrival));
  } else {
    answer(first->request, std::move(listener), std::move(**arrival), verdict);
  }
  return true;
}

void Acceptor::wait_for_verdict(AcceptRequest request, std::shared_ptr<Listener> listener,
                                Arrival arrival) {
  const std::uint64_t key = ++last_key_;
  Judging& entry =
      judging_
          .emplace(key, Judging{std::move(request), std::move(listener), std::move(arrival), 0, 0})
          .first->second;
  // The reset that confirms, or data, or the end: all make the TCP socket readable.
  if (const auto watch = loop_.watch(entry.arrival.tcp.get(), EPOLLIN | EPOLLRDHUP | EPOLLET,
                                     [this, key](std::uint32_t) { look_again(key); }))
    entry.watch = *watch;
  look_again(key);
}

void Acceptor::look_again(std::uint64_t key) {
  const auto found = judging_.find(key);
  if (found == judging_.end()) return;
  Judging& entry = found->second;
  loop_.forget(entry.timer);
  const bool gone = !entry.request.call.waiting();
  const Verdict verdict = gone ? Verdict::kWait : judge(*entry.listener, entry.arrival);
  if (!gone && verdict == Verdict::kWait) {
    const auto age = Clock::now() - entry.arrival.since;
    const auto pause = age < milliseconds{20} ? milliseconds{1} : milliseconds{20};
    entry.timer = loop_.after(pause, [this, key] { look_again(key); });
    return;
  }
  loop_.forget(entry.watch);
  Judging done = std::move(entry);
  judging_.erase(found);
  if (gone) {
    put_back(done.listener, std::move(done.arrival));
  } else {
    answer(done.request, std::move(done.listener), std::move(done.arrival), verdict);
  }
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
                  [](const Waiting& waiting) { return !waiting.request.call.waiting(); });
    end_if_empty(queue++);
  }
}

}  // namespace shunt::sandbox
