// Threads and who owns what.
//
//   loop thread      the EventLoop, the Acceptor's queues, notify descriptors that have no thread
//   container thread one notify descriptor; a Worker; nothing else
//   shared           PodNetwork, Listeners, SocketNotes, Statistics: each has its own short locks
//
// A container thread blocks in SECCOMP_IOCTL_NOTIF_RECV, which answers faster than polling first
// (1.75 against 2.1 µs). Before Linux 6.11 that call does not return when the last user of the
// filter is gone, so there the descriptor is polled. To stop such a thread it is sent a signal
// until it has noticed.

#include "sandbox/supervisor.h"

#include <linux/audit.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <future>
#include <list>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>

#include "netstack/base/event_loop.h"
#include "netstack/base/log.h"
#include "netstack/base/netns.h"
#include "netstack/base/short_turns.h"
#include "netstack/base/start_thread.h"
#include "sandbox/acceptor.h"
#include "sandbox/call.h"
#include "sandbox/connection_list.h"
#include "sandbox/connects_in_hand.h"
#include "sandbox/epoll_cache.h"
#include "sandbox/listeners.h"
#include "sandbox/more_room.h"
#include "sandbox/short_lived.h"
#include "sandbox/syscall_table.h"

namespace shunt::sandbox {
namespace {

// The first containers that call get a thread each, which a pod's sandbox container never does;
// further ones and execs share the loop.
constexpr std::size_t kContainerThreads = 2;
constexpr std::chrono::seconds kHousekeeping{1};

#if defined(__x86_64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kNativeArch = AUDIT_ARCH_AARCH64;
#else
#error "which AUDIT_ARCH_ is this?"
#endif

int stop_signal() { return SIGRTMIN + 4; }

bool receive_returns_at_the_end() {
  utsname name{};
  int major = 0;
  int minor = 0;
  if (::uname(&name) < 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 11);
}

/// Signals of the process are the main thread's business.
void block_signals() {
  sigset_t all{};
  ::sigfillset(&all);
  ::sigdelset(&all, stop_signal());
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

void enter(int netns) {
  if (::setns(netns, CLONE_NEWNET) < 0) {
    log::error("sandbox", "{}", describe(last_error("setns")));
    std::abort();
  }
}

/// Whether a notify descriptor that is ready for this has no process any more. Its POLLERR only
/// says that a signal, or work for a ring of ours, came while another thread held its lock: look
/// again.
bool is_end(std::uint32_t events) {
  static_assert(POLLIN == EPOLLIN && POLLHUP == EPOLLHUP);
  return (events & (POLLIN | POLLHUP)) == POLLHUP;
}

bool hung_up(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1 && is_end(static_cast<std::uint32_t>(entry.revents));
}

}  // namespace

class Supervisor::Core {
 public:
  explicit Core(SupervisorOptions options)
      : options_{std::move(options)},
        acceptor_{loop_, loop_worker_,
                  [this](std::function<void()> work) { post(std::move(work)); }},
        services_{
            nullptr,
            nullptr,
            statistics_,
            notes_,
            unheard_,
            connects_,
            epolls_,
            listeners_,
            acceptor_,
            options_.upgrade.short_lived == config::ShortLived::kKernel ? &short_lived_ : nullptr,
            [this](CallId call, const std::array<std::uint64_t, 6>& args) {
              again(std::move(call), args);
            }} {
    if (const Status started = acceptor_.start(&services_); !started) std::abort();
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(stop_signal(), &action, nullptr);
    loop_.on_wake([this] { run_posted(); });
    loop_thread_ = std::thread{[this] {
      block_signals();
      ask_for_short_turns();
      loop_.after(kHousekeeping, [this] { keep_house(); });
      loop_.run();
      loop_containers_.clear();
    }};
  }

  ~Core() {
    std::promise<std::list<ContainerThread>> rest;
    post([this, &rest] {
      ending_ = true;
      rest.set_value(std::move(threads_));
    });
    std::list<ContainerThread> threads = rest.get_future().get();
    for (ContainerThread& entry : threads) {
      entry.stop = true;
      while (!entry.ended.load()) {
        ::pthread_kill(entry.thread.native_handle(), stop_signal());
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
      }
      entry.thread.join();
    }
    // The loop may have woken a program by the last accept(2) it answered and still hold its own
    // copy of the socket: to the fabrics, a program that has not ended.
    std::promise<void> answered;
    post([&answered] { answered.set_value(); });
    answered.get_future().wait();
    remote_.reset();  // while the loop can still take what it posts
    post([this] { loop_.stop(); });
    loop_thread_.join();
  }

  Status add(UniqueFd fd, const std::string& id, pid_t pid, bool exec,
             std::optional<config::Pair> pair) {
    auto notify = NotifyFd::adopt(std::move(fd));
    if (!notify) return notify.error();
    auto container =
        std::make_shared<Container>(id, std::move(*notify), pair.value_or(options_.upgrade.pair));
    const std::lock_guard guard{mutex_};
    if (!joined_) join(pid);
    {
      const std::lock_guard also{containers_mutex_};
      std::erase_if(containers_, [](const auto& entry) { return entry.expired(); });
      containers_.push_back(container);
    }
    post([this, container, exec] { watch(container, exec); });
    return Done{};
  }

  Snapshot snapshot() {
    Snapshot result;
    result.pod_id = options_.pod_id;
    {
      const std::lock_guard guard{containers_mutex_};
      for (const auto& entry : containers_)
        if (const auto container = entry.lock()) result.containers.push_back(container->id);
    }
    for (std::size_t row = 0; row < syscall_table().size(); ++row) {
      Snapshot::Call call{std::string{syscall_table()[row].name}, {}};
      for (std::size_t i = 0; i < call.endings.size(); ++i)
        call.endings[i] = statistics_.calls(row, static_cast<Ending>(i));
      result.calls.push_back(std::move(call));
    }
    for (std::size_t i = 0; i < result.paths.size(); ++i)
      result.paths[i] = statistics_.paths(static_cast<Path>(i));
    for (std::size_t i = 0; i < result.latency.size(); ++i)
      result.latency[i] = statistics_.latency(i);
    for (const auto& listener : listeners_.all())
      result.listeners.push_back({listener->local, listener->family, listener->mailbox != nullptr});

    // Once there, they stay as long as this object: add() is not to wait for what follows.
    PodNetwork* network = nullptr;
    Remote* remote = nullptr;
    {
      const std::lock_guard guard{mutex_};
      network = network_.get();
      remote = remote_.get();
      if (network == nullptr) result.why_not = joined_ ? why_not_ : "no container yet";
      result.why_not_remote = why_not_remote_;
    }
    if (network == nullptr) return result;
    result.upgrading = !network->host_network();
    if (!result.upgrading) result.why_not = "host network";
    result.netns = network->netns();
    result.addresses = network->addresses();
    if (remote != nullptr) result.remote = remote->view();
    list_connections(*network, options_.pod_id, result);
    return result;
  }

 private:
  struct ContainerThread {
    std::thread thread;
    std::atomic<bool> stop{false};
    std::atomic<bool> ended{false};
  };

  // Requires: mutex_. The first process shows the pod's namespace.
  void join(pid_t pid) {
    joined_ = true;
    if (!options_.upgrade.enabled) {
      why_not_ = "upgrade.enabled is false";
      return;
    }
    auto network =
        PodNetwork::join(options_.pod_id, options_.state_directory, options_.upgrade, pid);
    if (!network) {
      why_not_ = describe(network.error());
      log::warn("sandbox", "no connection of this pod will be upgraded: {}", why_not_);
      return;
    }
    network_ = std::move(*network);
    more_room_ = std::make_unique<MoreRoom>(options_.state_directory, network_->private_netns(),
                                            options_.upgrade.send_buffer);
    join_others();
    std::promise<void> entered;
    post([this, &entered] {  // before the first call is answered, and by the thread that reads it
      enter(network_->private_netns());
      services_.network = network_.get();
      services_.remote = remote_.get();
      services_.more_room = more_room_.get();
      loop_worker_.line = take_line();
      entered.set_value();
    });
    entered.get_future().wait();
  }

  // Requires: mutex_, and the node's own namespace. Before any process of the pod runs, so that
  // none can take the control port.
  void join_others() {
    if (network_->host_network()) {
      why_not_remote_ = "host network";
      return;
    }
    RemoteOptions wanted;
    wanted.pod_id = options_.pod_id;
    wanted.fabrics = options_.fabrics;
    auto home = current_netns();
    if (home) wanted.node_netns = std::move(*home);
    wanted.nudge = [this] { acceptor_.nudge(); };
    auto remote = Remote::start(std::move(wanted), *network_, services_);
    if (remote) {
      remote_ = std::move(*remote);
    } else {
      why_not_remote_ = remote.error();
      log::info("sandbox", "connections to other nodes stay as they are: {}", why_not_remote_);
    }
  }

  void again(CallId call, const std::array<std::uint64_t, 6>& args) {
    post([this, call = std::move(call), args] { handle_again(call, args); });
  }

  // Loop thread.
  void handle_again(const CallId& identity, const std::array<std::uint64_t, 6>& args) {
    if (!identity.waiting()) return;
    ProcessGuest guest{identity.tid, identity.id, identity.container->notify, loop_worker_.pidfds};
    Call call{identity, guest, args, loop_worker_, services_};
    Reply reply = syscall_table()[identity.row].handler(call);
    if (!std::holds_alternative<Later>(reply)) deliver(services_, identity, std::move(reply));
  }

  void answer(const std::shared_ptr<Container>& container, const seccomp_notif& trapped,
              Worker& worker) {
    const bool native = trapped.data.arch == kNativeArch;  // elsewhere the numbers mean other calls
    const auto row = native ? find_row(trapped.data.nr) : std::nullopt;
    if (!row || syscall_table()[*row].handler == nullptr) {
      // A filter that traps more than we asked for.
      [[maybe_unused]] const Status sent = container->notify.run_in_kernel(trapped.id);
      return;
    }
    const CallId identity{container, trapped.id, static_cast<pid_t>(trapped.pid), *row,
                          std::chrono::steady_clock::now()};
    ProcessGuest guest{identity.tid, identity.id, container->notify, worker.pidfds};
    Call call{identity, guest, {}, worker, services_};
    std::copy_n(std::begin(trapped.data.args), call.args.size(), call.args.begin());
    Reply reply = syscall_table()[*row].handler(call);
    if (!std::holds_alternative<Later>(reply)) deliver(services_, identity, std::move(reply));
  }

  void serve(ContainerThread& self, const std::shared_ptr<Container>& container) {
    block_signals();
    ask_for_short_turns();
    Worker worker;
    if (services_.network != nullptr) {
      enter(services_.network->private_netns());
      worker.line = take_line();
    }
    static const bool blocking = receive_returns_at_the_end();
    const int fd = container->notify.get();
    while (!self.stop.load()) {
      if (!blocking) {
        pollfd entry{fd, POLLIN, 0};
        if (::poll(&entry, 1, -1) < 0) continue;
        if (is_end(static_cast<std::uint32_t>(entry.revents))) break;
        if ((entry.revents & POLLIN) == 0) continue;
      }
      const auto trapped = container->notify.receive();
      if (trapped) {
        answer(container, *trapped, worker);
      } else if (trapped.error().number != EINTR && hung_up(fd)) {
        break;
      }
    }
    if (worker.line) give_line(*worker.line);
    self.ended = true;
  }

  // Loop thread: one call per round and descriptor, so that all get their turn.
  void watch(const std::shared_ptr<Container>& container, bool exec) {
    const auto token = std::make_shared<EventLoop::Token>(0);
    const auto leave = [this, container, token] {
      loop_.forget(*token);
      loop_containers_.erase(container);
    };
    const auto watched = loop_.watch(container->notify.get(), EPOLLIN,
                                     [this, container, exec, leave](std::uint32_t events) {
                                       if ((events & EPOLLIN) == 0) {
                                         if (is_end(events)) leave();
                                         return;
                                       }
                                       if (!exec && give_thread(container)) return leave();
                                       if (const auto trapped = container->notify.receive())
                                         answer(container, *trapped, loop_worker_);
                                     });
    if (!watched) {
      log::error("sandbox", "container {}: {}", container->id, describe(watched.error()));
      return;
    }
    *token = *watched;
    loop_containers_.insert(container);
  }

  // Loop thread. The call that waits is the thread's first one.
  bool give_thread(const std::shared_ptr<Container>& container) {
    threads_.remove_if([](ContainerThread& entry) {
      if (!entry.ended.load()) return false;
      entry.thread.join();
      return true;
    });
    if (ending_ || threads_.size() >= kContainerThreads) return false;
    ContainerThread& entry = threads_.emplace_back();
    auto thread = start_thread([this, &entry, container] { serve(entry, container); });
    if (!thread) {
      threads_.pop_back();
      return false;
    }
    entry.thread = std::move(*thread);
    return true;
  }

  void keep_house() {
    acceptor_.drop_gone();
    listeners_.sweep(services_.network);
    if (services_.network != nullptr) services_.network->forget_departed();
    loop_.after(kHousekeeping, [this] { keep_house(); });
  }

  void post(std::function<void()> work) {
    {
      const std::lock_guard guard{posted_mutex_};
      posted_.push_back(std::move(work));
    }
    loop_.wake();
  }

  void run_posted() {
    std::vector<std::function<void()>> work;
    {
      const std::lock_guard guard{posted_mutex_};
      work.swap(posted_);
    }
    for (const auto& each : work) each();
  }

  std::optional<std::size_t> take_line() {
    const std::lock_guard guard{lines_mutex_};
    if (!free_lines_.empty()) {
      const std::size_t line = free_lines_.back();
      free_lines_.pop_back();
      return line;
    }
    if (next_line_ == local::kLines) return std::nullopt;
    return next_line_++;
  }
  void give_line(std::size_t line) {
    const std::lock_guard guard{lines_mutex_};
    free_lines_.push_back(line);
  }

  SupervisorOptions options_;
  Statistics statistics_;
  SocketNotes notes_;
  UnheardConnects unheard_;
  ConnectsInHand connects_{[this](CallId call, const std::array<std::uint64_t, 6>& args) {
    again(std::move(call), args);
  }};
  EpollCache epolls_;
  Listeners listeners_;
  ShortLived short_lived_;

  std::mutex mutex_;  // network_, joined_, remote_
  std::unique_ptr<PodNetwork> network_;
  std::unique_ptr<MoreRoom> more_room_;
  bool joined_ = false;
  std::string why_not_;
  std::string why_not_remote_;

  std::mutex containers_mutex_;
  std::vector<std::weak_ptr<Container>> containers_;
  std::mutex lines_mutex_;
  std::size_t next_line_ = 0;
  std::vector<std::size_t> free_lines_;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;

  EventLoop loop_;
  Worker loop_worker_;
  Acceptor acceptor_;
  Services services_;
  std::set<std::shared_ptr<Container>> loop_containers_;  // these three: loop thread
  std::list<ContainerThread> threads_;
  bool ending_ = false;
  std::unique_ptr<Remote> remote_;
  std::thread loop_thread_;  // last: it uses all of the above
};

Supervisor::Supervisor(std::unique_ptr<Core> core) : core_{std::move(core)} {}
Supervisor::~Supervisor() = default;

Result<std::unique_ptr<Supervisor>> Supervisor::start(SupervisorOptions options) {
  try {
    return std::unique_ptr<Supervisor>{new Supervisor{std::make_unique<Core>(std::move(options))}};
  } catch (const std::system_error& error) {  // no room for its thread
    return Error{error.code().value(), "start a thread"};
  }
}

Status Supervisor::add(UniqueFd notify, const std::string& container_id, pid_t pid, bool exec,
                       std::optional<config::Pair> pair) {
  return core_->add(std::move(notify), container_id, pid, exec, pair);
}

Snapshot Supervisor::snapshot() { return core_->snapshot(); }

}  // namespace shunt::sandbox
