#include "shim/supervision.h"

#include <sys/socket.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include "netstack/base/log.h"
#include "netstack/base/unix_socket.h"
#include "sandbox/syscall_table.h"
#include "shim/files.h"
#include "shim/ttrpc/server.h"

namespace shunt {

namespace {

std::string annotation(const sandbox::Json& spec, const char* key) {
  const auto annotations = spec.find("annotations");
  if (annotations == spec.end() || !annotations->is_object()) return {};
  const auto value = annotations->find(key);
  return value == annotations->end() || !value->is_string() ? "" : value->get<std::string>();
}

}  // namespace

Result<std::optional<config::Pair>, std::string> annotated_pair(const sandbox::Json& spec) {
  const std::string value = annotation(spec, kPairAnnotation);
  if (value.empty()) return std::optional<config::Pair>{};
  if (value == "unix") return std::optional{config::Pair::kUnix};
  if (value == "tcp") return std::optional{config::Pair::kTcp};
  return "annotation " + std::string{kPairAnnotation} + " is \"" + value +
         "\", it must be \"unix\" or \"tcp\"";
}

Supervision::Supervision(EventLoop& loop, const config::Config& config, Taker taker)
    : loop_{loop}, config_{config}, taker_{std::move(taker)} {}

Supervision::~Supervision() {
  loop_.forget(watch_);
  for (const auto& [fd, incoming] : incoming_) loop_.forget(incoming->watch);
  if (listener_.valid()) ::unlink(path_.c_str());
}

const sandbox::MergeReport* Supervision::report(const std::string& container_id) const {
  const auto it = containers_.find(container_id);
  return it == containers_.end() ? nullptr : &it->second.report;
}

config::Pair Supervision::pair(const std::string& container_id) const {
  const auto it = containers_.find(container_id);
  return it == containers_.end() ? config_.upgrade.pair : it->second.pair;
}

Result<Done, std::string> Supervision::prepare(const std::string& bundle,
                                               const std::string& container_id) {
  const std::vector<sandbox::Trap> traps = sandbox::traps(config_.upgrade);
  if (traps.empty()) {
    containers_[container_id].report.left_alone = "upgrade.enabled is false in the configuration";
    return Done{};
  }
  const std::string file = bundle + "/config.json";
  const auto text = read_file(file, 16 << 20);
  if (!text) return "cannot read " + file;
  auto config = sandbox::parse_config(*text);
  if (!config) return file + " is no OCI configuration";
  const auto pair = annotated_pair(*config);
  if (!pair) return pair.error();
  if (annotation(*config, "io.kubernetes.cri.container-type") == "sandbox") pod_pair_ = *pair;
  if (const Status listening = listen(); !listening)
    return "cannot listen for notify descriptors on " + path_ + ": " + describe(listening.error());
  sandbox::MergeReport report = sandbox::merge_traps(*config, traps, {path_, container_id});
  if (report.listener_installed) {
    // containerd never reads the file again; the original helps whoever looks for a difference.
    if (const Status kept = write_file_atomically(file + ".orig", *text, 0600); !kept)
      return "cannot keep " + file + ".orig: " + describe(kept.error());
    if (const Status written =
            write_file_atomically(file, sandbox::serialise_config(*config), 0600);
        !written)
      return "cannot write " + file + ": " + describe(written.error());
  } else {
    log::info("shim", "{} is not supervised: {}", container_id, report.left_alone);
  }
  for (const auto& trap : report.traps)
    if (trap.outcome != sandbox::TrapOutcome::kTrapped)
      log::debug("shim", "{}: {}: {}", container_id, trap.name, trap.why);
  containers_[container_id] = {std::move(report),
                               pair->value_or(pod_pair_.value_or(config_.upgrade.pair))};
  return Done{};
}

Status Supervision::listen() {
  if (listener_.valid()) return Done{};
  const std::string directory = config_.state + "/notify";
  if (const Status made = make_directories(directory, 0700); !made) return made;
  path_ = directory + "/" + std::to_string(::getpid());
  ::unlink(path_.c_str());  // of a shim that died with our pid
  auto listener = listen_unix(path_, 128);
  if (!listener) return listener.error();
  const auto token =
      loop_.watch(listener->get(), EPOLLIN, [this](std::uint32_t) { accept_ready(); });
  if (!token) return token.error();
  watch_ = *token;
  listener_ = std::move(*listener);
  return Done{};
}

void Supervision::accept_ready() {
  UniqueFd socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket.valid()) return;
  if (!ttrpc::peer_is_us(socket.get())) {
    log::warn("shim", "refused a notify descriptor from another user");
    return;
  }
  const int fd = socket.get();
  auto incoming = std::make_unique<Incoming>(std::move(socket));
  const auto token = loop_.watch(fd, EPOLLIN, [this, fd](std::uint32_t) { receive(fd); });
  if (!token) return;
  incoming->watch = *token;
  incoming_[fd] = std::move(incoming);
}

void Supervision::receive(int fd) {
  const auto it = incoming_.find(fd);
  if (it == incoming_.end()) return;
  auto received = it->second->receiver.on_readable();
  if (received && !*received) return;  // more to come
  loop_.forget(it->second->watch);
  incoming_.erase(it);
  if (!received) {
    log::error("shim", "the runtime sent no usable notify descriptor: {}",
               describe(received.error()));
    return;
  }
  taker_(std::move(**received));
}

}  // namespace shunt
