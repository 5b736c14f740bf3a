// Joins the two sides: puts the supervisor's traps into a container's config.json before the
// runtime reads it, and takes the notify descriptors that the runtime sends for the container and
// its execs.
//
// A container that cannot be supervised (a profile that leaves no room, a listener of its own,
// upgrades switched off) runs exactly as under runc; why is kept for `shunt inspect`.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "netstack/base/event_loop.h"
#include "sandbox/profile/merge.h"
#include "sandbox/profile/receive.h"

namespace shunt {

/// Chooses the kind of pair for one container, or on the pod's sandbox for all of the pod.
inline constexpr const char* kPairAnnotation = "shunt.io/upgrade.pair";
/// Its value in a config.json: nothing where it is not set. The error is a sentence.
Result<std::optional<config::Pair>, std::string> annotated_pair(const sandbox::Json& spec);

class Supervision {
 public:
  /// Takes a descriptor; any number per container.
  using Taker = std::function<void(sandbox::ReceivedListener)>;

  Supervision(EventLoop& loop, const config::Config& config, Taker taker);
  ~Supervision();
  Supervision(const Supervision&) = delete;
  Supervision& operator=(const Supervision&) = delete;

  /// Rewrites <bundle>/config.json. What was there stays in <bundle>/config.json.orig. The error is
  /// a sentence and means that the file is as it was and cannot be used.
  Result<Done, std::string> prepare(const std::string& bundle, const std::string& container_id);
  const std::string& socket_path() const { return path_; }  ///< empty before the first prepare()
  void forget(const std::string& container_id) { containers_.erase(container_id); }

  /// What became of a container's traps; null if it was never prepared.
  const sandbox::MergeReport* report(const std::string& container_id) const;
  /// The kind of pair its connections get: by its annotation, its pod's, or the configuration.
  config::Pair pair(const std::string& container_id) const;

 private:
  Status listen();
  void accept_ready();
  void receive(int fd);

  struct Incoming {
    explicit Incoming(UniqueFd socket) : receiver{std::move(socket)} {}
    sandbox::ListenerReceiver receiver;
    EventLoop::Token watch = 0;
  };

  EventLoop& loop_;
  const config::Config& config_;
  Taker taker_;
  std::string path_;
  UniqueFd listener_;
  EventLoop::Token watch_ = 0;
  std::map<int, std::unique_ptr<Incoming>> incoming_;
  struct Prepared {
    sandbox::MergeReport report;
    config::Pair pair = config::Pair::kUnix;
  };
  std::map<std::string, Prepared> containers_;
  std::optional<config::Pair> pod_pair_;  ///< the annotation of the pod's sandbox
};

}  // namespace shunt
