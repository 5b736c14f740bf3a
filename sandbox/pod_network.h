// The pod as the fast path sees it: its namespace, its neighbours, and the kernel's answers about
// both. One per supervisor; everything here may be called by any thread that answers calls (they
// all live in the private namespace).
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "netstack/base/endpoint.h"
#include "netstack/local/conntrack.h"
#include "netstack/local/node_table.h"
#include "netstack/local/tcp_diag.h"

namespace shunt::sandbox {

class PodNetwork {
 public:
  /// Enters the pod in the node table. `process` is in the pod's network namespace.
  /// `upgrade` is copied.
  static Result<std::unique_ptr<PodNetwork>> join(const std::string& pod_id,
                                                  const std::string& state_directory,
                                                  const config::Upgrade& upgrade, pid_t process);

  const config::Upgrade& options() const { return options_; }
  local::NodeTable& table() { return *table_; }
  int private_netns() const { return private_netns_.get(); }
  std::uint64_t private_cookie() const { return private_cookie_; }
  int netns_fd() const { return netns_.get(); }
  std::uint64_t netns() const { return netns_inode_; }
  std::uint64_t cookie() const { return cookie_; }
  const std::vector<IpAddress>& addresses() const { return addresses_; }
  /// The pod uses the node's own namespace: processes that are not supervised do too, so that
  /// nobody can promise who accepts. Such pods stay on kernel TCP.
  bool host_network() const { return host_network_; }

  bool is_own(const IpAddress& address) const;  ///< loopback, or an address of the pod
  /// Whether a connection may end at a Shunt pod of this node.
  enum class Reach {
    kNo,       ///< not an address of pods or services
    kOutside,  ///< found to be elsewhere a moment ago
    kPerhaps,  ///< an address that may be translated to a pod's
    kYes,
  };
  Reach reach(const Endpoint& target);
  /// A connection to `target`, which is no pod of this node, was found not to be translated to one:
  /// for a short while reach() says kOutside. Pods that come are not affected.
  void remember_outside(const Endpoint& target);

  /// Other pods with this address, or this one.
  std::vector<std::shared_ptr<const local::Pod>> owners(const IpAddress& address);
  std::shared_ptr<const local::Pod> self() const { return self_; }

  /// The connection as the owner of `local` sees it.
  std::optional<local::TcpState> look_up(const local::Pod& pod, const Endpoint& local,
                                         const Endpoint& remote);
  /// Resets a connection of this pod, whoever has it.
  void reset(const Endpoint& local, const Endpoint& remote, std::uint64_t cookie);
  /// Connections of this pod that wait to be accepted at a port; nothing if it cannot be told.
  std::optional<std::uint32_t> waiting_at(std::uint16_t port);
  std::optional<local::Conntrack::Reply> translation(const Endpoint& client,
                                                     const Endpoint& service);

  /// Lets go of pods that left, whose namespaces would otherwise stay.
  void forget_departed();

  /// A new socket in the pod's namespace: what the program would have got from socket(2).
  Result<UniqueFd> make_tcp_socket(int family) const;

 private:
  PodNetwork() = default;
  std::shared_ptr<local::TcpDiag> diag_of(const local::Pod& pod);

  config::Upgrade options_;
  std::unique_ptr<local::NodeTable> table_;
  UniqueFd netns_;
  UniqueFd private_netns_;
  std::uint64_t netns_inode_ = 0;
  std::uint64_t cookie_ = 0;
  std::uint64_t private_cookie_ = 0;
  bool host_network_ = false;
  std::vector<IpAddress> addresses_;
  std::shared_ptr<const local::Pod> self_;
  std::unique_ptr<local::Conntrack> conntrack_;
  std::mutex outside_mutex_;
  std::unordered_map<Endpoint, std::chrono::steady_clock::time_point> outside_;  // until when
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::shared_ptr<local::TcpDiag>> diags_;  // by namespace inode
};

}  // namespace shunt::sandbox
