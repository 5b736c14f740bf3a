#include "sandbox/remote.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <future>
#include <set>

#include "netstack/base/log.h"
#include "netstack/base/netns.h"
#include "netstack/base/short_turns.h"
#include "netstack/base/start_thread.h"
#include "netstack/host/guard.h"
#include "netstack/local/fast_list.h"
#include "sandbox/cluster_key.h"

namespace shunt::sandbox {
namespace {

using control::State;
using namespace std::chrono_literals;

constexpr std::size_t kMostKnown = 8192;
constexpr auto kLeaving = 3s;  // for what programs left behind when they ended
constexpr auto kLookAgain = 2ms;

std::string read_line(const char* path) {
  std::ifstream file{path};
  std::string line;
  std::getline(file, line);
  return line;
}

std::uint64_t epoch_of_boot() {
  // Another one after each boot; only ever compared.
  return std::hash<std::string>{}(read_line("/proc/sys/kernel/random/boot_id"));
}

}  // namespace

Remote::Remote(RemoteOptions options, PodNetwork& network, Services& services)
    : options_{std::move(options)}, network_{network}, services_{services} {}

Result<std::unique_ptr<Remote>, std::string> Remote::start(RemoteOptions options,
                                                           PodNetwork& network,
                                                           Services& services) {
  if (options.fabrics.enabled.empty()) return std::string{"fabrics.enabled is empty"};
  std::unique_ptr<Remote> remote{new Remote{std::move(options), network, services}};
  std::promise<Result<Done, std::string>> opened;
  auto thread = start_thread([raw = remote.get(), &opened] {
    sigset_t all{};
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    ::pthread_setname_np(::pthread_self(), "fabric");
    ask_for_short_turns();
    if (::setns(raw->network_.private_netns(), CLONE_NEWNET) < 0) std::abort();
    auto result = raw->open();
    const bool works = static_cast<bool>(result);
    opened.set_value(std::move(result));
    if (works) raw->loop_.run();
    // Links refer to fabrics, and both to the loop.
    raw->peers_.reset();
    raw->fabrics_.clear();
  });
  if (!thread) return describe(thread.error());
  remote->thread_ = std::move(*thread);
  if (auto result = opened.get_future().get(); !result) {
    remote->thread_.join();
    return result.error();
  }
  return remote;
}

Remote::~Remote() {
  if (!thread_.joinable()) return;
  post([this] { leave(Clock::now() + kLeaving); });
  thread_.join();
}

// Programs that have ended rely on what they wrote being delivered, as by a kernel.
void Remote::leave(Clock::time_point until) {
  if (!peers_->owes() || Clock::now() >= until) return loop_.stop();
  loop_.after(kLookAgain, [this, until] { leave(until); });
}

/// In the private namespace, as all fast sockets.
Result<UniqueFd> Remote::listen_as(const std::string& name) {
  UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const SockAddress own = local::abstract_address(name);
  if (::bind(socket.get(), own.get(), own.length) < 0) return last_error("bind");
  local::prepare_unix_end(socket.get(), 0);  // accepted sockets inherit the refusal of rights
  constexpr int kBacklog = 64;               // each is accepted at once
  if (::listen(socket.get(), kBacklog) < 0) return last_error("listen");
  return socket;
}

Result<Done, std::string> Remote::open() {
  {
    const InNetns inside{options_.node_netns.get()};
    if (!inside.entered()) return describe(inside.entered().error());
    const UniqueFd probe{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const auto cookie = socket_netns_cookie(probe.get());
    if (!cookie) return describe(cookie.error());
    node_cookie_ = *cookie;
  }
  auto engine = listen_as(local::engine_name(network_.netns()));
  // Port 0: a mailbox that no client of this node can mean.
  auto mailbox = listen_as(local::mailbox_name(network_.netns(), 0, AF_INET));
  if (!engine) return describe(engine.error());
  if (!mailbox) return describe(mailbox.error());
  engine_ = std::move(*engine);
  mailbox_ = std::move(*mailbox);

  auto key = read_cluster_key(options_.fabrics.key_file);
  if (!key) return key.error();
  loop_.on_wake([this] { run_posted(); });
  fabrics_ = make_fabrics(loop_, options_.fabrics, options_.node_netns.get());
  control::Options wanted;
  wanted.addresses = network_.addresses();
  wanted.netns = network_.netns_fd();
  wanted.port = port();
  wanted.key = std::move(key->bytes);
  for (const OfferedFabric& entry : fabrics_) {
    if (entry.fabric != nullptr) {
      wanted.fabrics.push_back(entry.fabric.get());
    } else {
      log::info("sandbox", "fabric {} is not offered: {}", entry.name, entry.why);
    }
  }
  if (wanted.fabrics.empty()) return std::string{"no fabric can be offered: " + fabrics_[0].why};
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  wanted.self = {host.data(), epoch_of_boot(), options_.pod_id};
  wanted.timing.wait = options_.fabrics.wait;
  wanted.timing.answer = bound(wanted.timing.answer);
  wanted.timing.handshake = bound(wanted.timing.handshake);
  wanted.timing.forget = options_.fabrics.forget;
  wanted.timing.ping = options_.fabrics.silence / 3;
  auto peers = control::Peers::open(loop_, std::move(wanted), *this);
  if (!peers) return "control port " + std::to_string(port()) + ": " + describe(peers.error());
  peers_ = std::move(*peers);
  loop_.after(kHousekeeping, [this] { keep_house(); });
  return Done{};
}

void Remote::post(MoveFunction<void()> work) {
  bool first = false;
  {
    const std::lock_guard guard{posted_mutex_};
    first = posted_.empty();
    posted_.push_back(std::move(work));
  }
  if (first) loop_.wake();
}

void Remote::run_posted() {
  std::deque<MoveFunction<void()>> work;
  {
    const std::lock_guard guard{posted_mutex_};
    work.swap(posted_);
  }
  for (auto& each : work) each();
}

State Remote::state(const IpAddress& address) const {
  const std::shared_lock guard{known_mutex_};
  const auto found = known_.find(address);
  if (found == known_.end()) return State::kUnknown;
  const Known& known = found->second;
  return known.state == State::kNot && known.until < Clock::now() ? State::kUnknown : known.state;
}

void Remote::learn(const IpAddress& address, State state) {
  const std::unique_lock guard{known_mutex_};
  if (state == State::kUnknown) {
    known_.erase(address);
    return;
  }
  const auto now = Clock::now();
  if (known_.size() >= kMostKnown)
    std::erase_if(known_, [](const auto& entry) { return entry.second.state == State::kNot; });
  known_[address] = {state, now + options_.fabrics.forget};
}

void Remote::discover(const IpAddress& address, MoveFunction<void()> then) {
  post([this, address, then = std::move(then)]() mutable {
    peers_->discover(address, [this, address, then = std::move(then)](State found) mutable {
      // Whoever asks again at once must not be sent here again.
      learn(address, found == State::kUnknown ? State::kNot : found);
      if (then) then();
    });
  });
}

void Remote::on_state(const IpAddress& peer, State state) { learn(peer, state); }

bool Remote::is_node_socket(int socket) const {
  const auto netns = socket_netns_cookie(socket);
  if (!netns || *netns != node_cookie_) return false;
  struct stat info {};
  return ::fstat(socket, &info) == 0 && info.st_uid == host::kGuardedUser;
}

void Remote::on_link_up(const IpAddress& peer, std::uint64_t, fabric::Kind kind) {
  log::debug("sandbox", "{}: {} is up", to_text(peer), fabric::name(kind));
}
void Remote::on_lost(const IpAddress& peer) {
  log::info("sandbox", "{}: the control connection is lost", to_text(peer));
}

void Remote::remember_stream(const local::FastName& name, bool is_client, fabric::Kind kind) {
  const std::lock_guard guard{streams_mutex_};
  if (streams_.size() >= prune_streams_at_) {
    if (const auto living = local::list_fast_sockets()) {
      std::set<Tuple> alive;
      for (const local::FastEntry& entry : *living)
        alive.insert({entry.name.client, entry.name.server});
      std::erase_if(streams_, [&](const RemoteView::Stream& stream) {
        return !alive.contains({stream.socket.name.client, stream.socket.name.server});
      });
    }
    prune_streams_at_ = std::max(kFirstPrune, streams_.size() * 2);
  }
  streams_.push_back({{name, is_client}, kind, 0, {}});
}

std::vector<RemoteView::Stream> Remote::host_streams() {
  std::vector<RemoteView::Stream> streams;
  for (const HostSockets::Entry& entry : sockets_.all())
    streams.push_back({entry.stands_for, fabric::Kind::kHost, entry.inode, {}});
  if (streams.empty()) return streams;
  const InNetns inside{options_.node_netns.get()};
  if (!inside.entered()) return streams;
  auto diag = local::TcpDiag::open();
  if (!diag) return streams;
  const auto queues = diag->queues();
  if (!queues) return streams;
  for (RemoteView::Stream& stream : streams)
    if (const auto found = queues->find(stream.inode); found != queues->end())
      stream.queues = found->second;
  return streams;
}

RemoteView Remote::view() {
  auto view = std::make_shared<std::promise<RemoteView>>();
  auto answer = view->get_future();
  post([this, view] {
    RemoteView result;
    for (const OfferedFabric& entry : fabrics_)
      result.fabrics.push_back({entry.name, entry.fabric != nullptr, entry.why});
    result.peers = peers_->view();
    result.streams = host_streams();
    {
      const std::lock_guard guard{streams_mutex_};
      result.streams.insert(result.streams.end(), streams_.begin(), streams_.end());
    }
    view->set_value(std::move(result));
  });
  // Whoever inspects is not to hang with us.
  if (answer.wait_for(2s) != std::future_status::ready)
    return {"the fabric thread is busy", {}, {}, {}};
  return answer.get();
}

}  // namespace shunt::sandbox
