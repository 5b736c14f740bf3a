// The supervisor of one pod: answers the trapped calls of its containers.
//
//   auto supervisor = Supervisor::start({pod_id, state_directory, config.upgrade});
//   (*supervisor)->add(notify_descriptor, container_id, pid, /*exec=*/false);   // any thread
//
// Threads: one event loop for execs, probes and calls that wait, and one each for the
// first two containers, blocked in their notify descriptors. The loop takes one call at a time from
// each of the others, so that a flood in one container does not keep another one waiting. All of
// them live in the node's private network namespace.
//
// The process needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_SYS_PTRACE over the containers, and a file
// descriptor limit above the numbers that guests use with epoll. start() must be called in the
// node's own network namespace.
//
// Destroying it closes the notify descriptors: whatever containers still run get ENOSYS from
// trapped calls. So it outlives them.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "netstack/base/endpoint.h"
#include "netstack/base/result.h"
#include "netstack/base/unique_fd.h"
#include "sandbox/profile/trap.h"
#include "sandbox/remote.h"
#include "sandbox/statistics.h"

namespace shunt::sandbox {

struct SupervisorOptions {
  std::string pod_id;                          ///< as people know it; shown, not interpreted
  std::string state_directory = "/run/shunt";  ///< shared by the supervisors of the node
  config::Upgrade upgrade;
  config::Fabrics fabrics;
};

/// What `inspect` shows. Plain values.
struct Snapshot {
  struct Call {
    std::string name;
    std::array<std::uint64_t, static_cast<std::size_t>(Ending::kCount)> endings{};
  };
  struct Listening {
    Endpoint local;
    int family = 0;
    bool published = false;
  };
  struct Connection {
    Endpoint local;
    Endpoint remote;
    bool outgoing = false;
    config::Pair kind = config::Pair::kUnix;
    std::uint32_t peer_pod = 0;      ///< in `pods`; 0: it has left
    std::string_view fabric;         ///< "local", "host", "window", "verbs"
    std::uint32_t inode = 0;         ///< of the socket; its modification time is its birth
    std::uint32_t unread_bytes = 0;  ///< in our receive queue
    std::uint32_t unsent_bytes = 0;  ///< written and not yet read by the peer
  };
  std::string pod_id;
  bool upgrading = false;  ///< false: nothing is upgraded, `why_not` says why
  std::string why_not;
  std::uint64_t netns = 0;
  std::vector<IpAddress> addresses;
  std::vector<std::string> containers;  ///< ids with a live notify descriptor
  std::vector<Call> calls;
  std::array<std::uint64_t, static_cast<std::size_t>(Path::kCount)> paths{};
  std::array<std::uint64_t, Statistics::kBuckets> latency{};  ///< see Statistics
  std::vector<Listening> listeners;
  std::vector<Connection> connections;
  std::vector<std::string> pods{""};  ///< ids of the pods at the other ends of `connections`
  std::optional<RemoteView> remote;   ///< across nodes; see there for `why_not`
  std::string why_not_remote;         ///< if there is none
};

class Supervisor {
 public:
  static Result<std::unique_ptr<Supervisor>> start(SupervisorOptions options);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /// Takes a notify descriptor. `pid` is a process under that filter, in the pod's namespaces; the
  /// first one shows which network namespace is the pod's. `exec`: of a further process of a
  /// container that was added before. `pair`: of the connections it makes, if not as configured for
  /// all. Returns once calls are being answered.
  Status add(UniqueFd notify, const std::string& container_id, pid_t pid, bool exec,
             std::optional<config::Pair> pair = std::nullopt);

  /// Any thread; does not disturb the answering ones. Some µs for each fast connection of the pod
  /// and 1 µs for others of the node; up to 2 s if the fabrics are busy.
  Snapshot snapshot();

 private:
  class Core;
  explicit Supervisor(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace shunt::sandbox
