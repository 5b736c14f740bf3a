#include "sandbox/pod_network.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "netstack/base/log.h"
#include "netstack/base/netns.h"
#include "netstack/local/private_net.h"

namespace shunt::sandbox {

using local::Pod;

Result<std::unique_ptr<PodNetwork>> PodNetwork::join(const std::string& pod_id,
                                                     const std::string& state_directory,
                                                     const config::Upgrade& upgrade,
                                                     pid_t process) {
  std::unique_ptr<PodNetwork> network{new PodNetwork};
  network->options_ = upgrade;
  auto table = local::NodeTable::open(state_directory);
  if (!table) return table.error();
  network->table_ = std::move(*table);

  auto netns = netns_of(process);
  if (!netns) return netns.error();
  network->netns_ = std::move(*netns);
  auto inode = netns_inode(network->netns_.get());
  if (!inode) return inode.error();
  network->netns_inode_ = *inode;
  auto home = current_netns();
  if (!home) return home.error();
  auto home_inode = netns_inode(home->get());
  if (!home_inode) return home_inode.error();
  network->host_network_ = *home_inode == *inode;

  // The node's own namespace translates services; without conntrack there are none to look up.
  if (auto conntrack = local::Conntrack::open())
    network->conntrack_ = std::make_unique<local::Conntrack>(std::move(*conntrack));

  {
    const InNetns inside{network->netns_.get()};
    if (!inside.entered()) return inside.entered().error();
    const UniqueFd probe{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    auto cookie = socket_netns_cookie(probe.get());
    if (!cookie) return cookie.error();
    network->cookie_ = *cookie;
    auto addresses = local::pod_addresses();
    if (!addresses) return addresses.error();
    network->addresses_ = std::move(*addresses);
  }
  {
    const auto guard = network->table_->lock();
    auto private_net = local::join_private_net(*network->table_);
    if (!private_net) return private_net.error();
    network->private_netns_ = std::move(*private_net);
    local::PodRecord record{
        pod_id, *inode, network->netns_.get(), network->private_netns_.get(),
        network->host_network_ ? std::vector<IpAddress>{} : network->addresses_};
    if (Status entered = network->table_->put(record); !entered) return entered.error();
    network->self_ = std::make_shared<const Pod>(
        Pod{network->table_->own_slot(), ::getpid(), std::move(record)});
  }
  {
    const InNetns inside{network->private_netns_.get()};
    if (!inside.entered()) return inside.entered().error();
    const UniqueFd probe{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    auto cookie = socket_netns_cookie(probe.get());
    if (!cookie) return cookie.error();
    network->private_cookie_ = *cookie;
  }
  return network;
}

bool PodNetwork::is_own(const IpAddress& address) const {
  return is_loopback(address) ||
         std::find(addresses_.begin(), addresses_.end(), address) != addresses_.end();
}

PodNetwork::Reach PodNetwork::reach(const Endpoint& target) {
  if (is_unspecified(target.address) || is_own(target.address) || table_->has(target.address))
    return Reach::kYes;
  if (std::none_of(options_.ranges.begin(), options_.ranges.end(),
                   [&](const config::Cidr& range) { return range.contains(target.address); }))
    return Reach::kNo;
  const std::lock_guard guard{outside_mutex_};
  const auto found = outside_.find(target);
  if (found == outside_.end()) return Reach::kPerhaps;
  if (std::chrono::steady_clock::now() < found->second) return Reach::kOutside;
  outside_.erase(found);
  return Reach::kPerhaps;
}

void PodNetwork::remember_outside(const Endpoint& target) {
  constexpr std::chrono::seconds kLong{
      2};  // a service that is made meanwhile is fast a little later
  constexpr std::size_t kMost = 1024;
  const std::lock_guard guard{outside_mutex_};
  if (outside_.size() >= kMost) outside_.clear();
  outside_[target] = std::chrono::steady_clock::now() + kLong;
}

std::vector<std::shared_ptr<const Pod>> PodNetwork::owners(const IpAddress& address) {
  if (is_own(address)) return {self_};
  return table_->find(address);
}

std::shared_ptr<local::TcpDiag> PodNetwork::diag_of(const Pod& pod) {
  const std::lock_guard guard{mutex_};
  if (const auto found = diags_.find(pod.record.netns); found != diags_.end()) return found->second;
  constexpr std::size_t kMost = 512;  // pods that left; opening again is cheap
  if (diags_.size() >= kMost) diags_.clear();
  UniqueFd opened;
  int netns = netns_.get();
  if (pod.record.netns != netns_inode_) {
    auto theirs = local::open_netns_of(pod.supervisor, pod.record.netns_fd);
    if (!theirs) return nullptr;
    const auto inode = netns_inode(theirs->get());
    if (!inode || *inode != pod.record.netns) return nullptr;
    opened = std::move(*theirs);
    netns = opened.get();
  }
  const InNetns inside{netns};
  if (!inside.entered()) return nullptr;
  auto diag = local::TcpDiag::open();
  if (!diag) return nullptr;
  return diags_[pod.record.netns] = std::make_shared<local::TcpDiag>(std::move(*diag));
}

std::optional<local::TcpState> PodNetwork::look_up(const Pod& pod, const Endpoint& local,
                                                   const Endpoint& remote) {
  const auto diag = diag_of(pod);
  if (diag == nullptr) return std::nullopt;
  const auto found = diag->find(local, remote);
  return found ? *found : std::nullopt;
}

void PodNetwork::reset(const Endpoint& local, const Endpoint& remote, std::uint64_t cookie) {
  const auto diag = diag_of(*self_);
  if (diag == nullptr) return;
  if (const Status done = diag->reset(local, remote, cookie); !done)
    log::debug("sandbox", "reset: {}", describe(done.error()));
}

std::optional<std::uint32_t> PodNetwork::waiting_at(std::uint16_t port) {
  const auto diag = diag_of(*self_);
  if (diag == nullptr) return std::nullopt;
  const auto waiting = diag->waiting_at(port);
  if (!waiting) return std::nullopt;
  return *waiting;
}

void PodNetwork::forget_departed() {
  const auto pods = table_->all();
  const std::lock_guard guard{mutex_};
  std::erase_if(diags_, [&](const auto& entry) {
    return std::none_of(pods.begin(), pods.end(),
                        [&](const auto& pod) { return pod->record.netns == entry.first; });
  });
}

std::optional<local::Conntrack::Reply> PodNetwork::translation(const Endpoint& client,
                                                               const Endpoint& service) {
  if (conntrack_ == nullptr) return std::nullopt;
  const auto found = conntrack_->find(client, service);
  return found ? *found : std::nullopt;
}

Result<UniqueFd> PodNetwork::make_tcp_socket(int family) const {
  const InNetns inside{netns_.get()};
  if (!inside.entered()) return inside.entered().error();
  UniqueFd socket{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP)};
  if (!socket.valid()) return last_error("socket");
  return socket;
}

}  // namespace shunt::sandbox
