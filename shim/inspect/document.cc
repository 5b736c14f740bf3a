#include "shim/inspect/document.h"

#include <unistd.h>

#include <map>
#include <tuple>

#include "shim/inspect/ages.h"
#include "shim/json_writer.h"

namespace shunt {
namespace {

constexpr std::size_t kConnectionBytes = 320;  // of one in the document, with a pod's long id

const char* name_of(config::Pair pair) { return pair == config::Pair::kTcp ? "tcp" : "unix"; }

void write_container(JsonWriter& json, const task::Container& container,
                     const sandbox::MergeReport* report, config::Pair pair) {
  json.begin_object();
  json.string("id", container.id);
  json.text("name", container.name);
  json.number("pid", container.init->pid);
  json.string("state", task::name_of(container.init->state));
  json.number("execs", container.execs.size());
  json.boolean("supervised", report != nullptr && report->listener_installed);
  if (report != nullptr && !report->left_alone.empty()) json.string("why", report->left_alone);
  json.string("pair", name_of(pair));
  json.array("traps_not_as_asked");
  if (report != nullptr)
    for (const auto& trap : report->traps) {
      if (trap.outcome == sandbox::TrapOutcome::kTrapped) continue;
      json.begin_object();
      json.string("call", trap.name);
      json.boolean("trapped", trap.outcome == sandbox::TrapOutcome::kTrappedMore);
      json.string("why", trap.why);
      json.end_object();
    }
  json.end_array();
  json.end_object();
}

/// The beginning of the document's object.
void write_head(JsonWriter& json, const PodIdentity& pod, const task::Service& service,
                const Supervision& supervision) {
  json.string("version", SHUNT_VERSION);
  json.number("shim_pid", ::getpid());
  json.object("pod");
  json.string("id", pod.id);
  json.text("name", pod.name);
  json.text("namespace", pod.name_space);
  json.text("uid", pod.uid);
  json.end_object();
  json.array("containers");
  for (const auto& [id, container] : service.containers())
    write_container(json, *container, supervision.report(id), supervision.pair(id));
  json.end_array();
}

void write_link(JsonWriter& json, const fabric::LinkView& link) {
  json.object("link");
  json.string("state", link.state);
  json.object("counters");
  for (const auto& [name, count] : link.counters) json.number(name, count);
  json.end_object();
  json.array("streams");
  for (const fabric::StreamView& stream : link.streams) {
    json.begin_object();
    json.number("id", stream.id);
    json.string("state", stream.state);
    json.number("sent_bytes", stream.sent);
    json.number("received_bytes", stream.received);
    json.number("credit_bytes", stream.credit);
    json.number("ring_bytes", stream.ring);
    json.number("stalls", stream.stalls);
    json.end_object();
  }
  json.end_array();
  json.end_object();
}

void write_peer(JsonWriter& json, const control::PeerView& peer) {
  json.begin_object();
  json.string("address", to_text(peer.address));
  json.string("phase", peer.phase);
  json.text("why", peer.why);
  json.text("pod", peer.pod);
  json.text("node", peer.node);
  json.boolean("called_by_us", peer.dialled);
  json.key("round_trip_us");
  peer.round_trip ? json.number(peer.round_trip->count()) : json.null();
  json.object("offers");
  json.number("made", peer.offered);
  json.number("accepted", peer.accepted);
  json.number("refused", peer.refused);
  json.number("unanswered", peer.unanswered);
  json.number("received", peer.asked);
  json.number("granted", peer.granted);
  json.number("passed_over", peer.passed);
  json.end_object();
  json.array("fabrics");
  for (const control::FabricView& fabric : peer.fabrics) {
    json.begin_object();
    json.string("fabric", fabric::name(fabric.kind));
    json.string("state", fabric.state);
    json.text("why", fabric.why);
    json.number("attempts", fabric.attempts);
    if (fabric.link) write_link(json, *fabric.link);
    json.end_object();
  }
  json.end_array();
  json.end_object();
}

/// Connections to other nodes: what this node offers, and who was met.
void write_across_nodes(JsonWriter& json, const sandbox::Snapshot& snapshot) {
  json.object("across_nodes");
  json.boolean("enabled", snapshot.remote.has_value());
  if (!snapshot.remote) {
    json.text("why_not", snapshot.why_not_remote);
    json.end_object();
    return;
  }
  const sandbox::RemoteView& view = *snapshot.remote;
  if (!view.why_not.empty()) json.string("why_not", view.why_not);
  json.array("fabrics");
  for (const auto& fabric : view.fabrics) {
    json.begin_object();
    json.string("fabric", fabric.name);
    json.boolean("offered", fabric.offered);
    json.text("why_not", fabric.why);
    json.end_object();
  }
  json.end_array();
  json.array("peers");
  for (const control::PeerView& peer : view.peers.peers) write_peer(json, peer);
  json.end_array();
  json.number("addresses_without_shim", view.peers.not_shunt_total);
  const control::Counters& counters = view.peers.counters;
  json.object("calls");
  json.number("made", counters.dials);
  json.number("refused", counters.refused);
  json.number("silent", counters.silent);
  json.number("accepted", counters.accepted);
  json.number("forged", counters.forged);
  json.number("wrong_key", counters.wrong_key);
  json.number("other_version", counters.version);
  json.number("misbehaved", counters.misbehaved);
  json.number("lost", counters.lost);
  json.number("crowded", counters.crowded);
  json.end_object();
  json.end_object();
}

void write_listeners(JsonWriter& json, const sandbox::Snapshot& snapshot) {
  // A server with several processes may have several sockets at one address.
  std::map<std::tuple<std::string, int, bool>, std::size_t> sockets;
  for (const auto& listener : snapshot.listeners)
    ++sockets[{to_text(listener.local), listener.family, listener.published}];
  json.array("listeners");
  for (const auto& [listener, count] : sockets) {
    json.begin_object();
    json.string("address", std::get<0>(listener));
    json.boolean("supervised", std::get<2>(listener));
    json.number("sockets", count);
    json.end_object();
  }
  json.end_array();
}

void write_connections(JsonWriter& json, const sandbox::Snapshot& snapshot,
                       const std::vector<pid_t>& processes) {
  std::vector<std::uint32_t> inodes;
  inodes.reserve(snapshot.connections.size());
  for (const auto& connection : snapshot.connections) inodes.push_back(connection.inode);
  const SocketAges ages{processes, std::move(inodes)};
  json.reserve(json.so_far().size() + kConnectionBytes * snapshot.connections.size());
  json.array("connections");
  for (const auto& connection : snapshot.connections) {
    json.begin_object();
    json.string("local", to_text(connection.local));
    json.string("remote", to_text(connection.remote));
    json.string("direction", connection.outgoing ? "out" : "in");
    json.string("pair", name_of(connection.kind));
    json.key("age_s");
    const auto age = ages.of(connection.inode);
    age ? json.number(*age) : json.null();
    json.number("unread_bytes", connection.unread_bytes);
    json.number("unsent_bytes", connection.unsent_bytes);
    json.string("fabric", connection.fabric);
    json.text("peer_pod", snapshot.pods[connection.peer_pod]);
    json.end_object();
  }
  json.end_array();
}

void write_counters(JsonWriter& json, const sandbox::Snapshot& snapshot) {
  json.array("paths");
  for (std::size_t i = 0; i < snapshot.paths.size(); ++i) {
    const auto path = static_cast<sandbox::Path>(i);
    json.begin_object();
    json.string("path", sandbox::name(path));
    json.string("meaning", sandbox::meaning(path));
    json.number("count", snapshot.paths[i]);
    json.end_object();
  }
  json.end_array();
  json.array("calls");
  for (const auto& call : snapshot.calls)
    for (std::size_t i = 0; i < call.endings.size(); ++i) {
      json.begin_object();
      json.string("call", call.name);
      json.string("outcome", sandbox::name(static_cast<sandbox::Ending>(i)));
      json.number("count", call.endings[i]);
      json.end_object();
    }
  json.end_array();
  json.array("latency");
  double within = 0.25;  // bucket n: below 2^n quarters of a microsecond
  for (const std::uint64_t count : snapshot.latency) {
    json.begin_object();
    json.number("within_us", within);
    json.number("count", count);
    json.end_object();
    within *= 2;
  }
  json.end_array();
}

void write_snapshot(JsonWriter& json, const sandbox::Snapshot& snapshot,
                    const std::vector<pid_t>& processes) {
  json.boolean("upgrading", snapshot.upgrading);
  if (!snapshot.why_not.empty()) json.string("why_not", snapshot.why_not);
  json.array("addresses");
  for (const IpAddress& address : snapshot.addresses) json.string(to_text(address));
  json.end_array();
  write_listeners(json, snapshot);
  write_connections(json, snapshot, processes);
  write_across_nodes(json, snapshot);
  write_counters(json, snapshot);
}

}  // namespace

PodIdentity identify_pod(const std::string& own_id, const oci::SpecSummary& spec) {
  const auto annotation = [&](const char* key) {
    const auto it = spec.annotations.find(key);
    return it == spec.annotations.end() ? std::string{} : it->second;
  };
  return {spec.group(own_id), annotation("io.kubernetes.cri.sandbox-name"),
          annotation("io.kubernetes.cri.sandbox-namespace"),
          annotation("io.kubernetes.cri.sandbox-uid")};
}

std::string inspect_head(const PodIdentity& pod, const task::Service& service,
                         const Supervision& supervision) {
  JsonWriter json;
  json.begin_object();
  write_head(json, pod, service, supervision);
  json.end_object();
  return json.take();
}

std::function<std::string()> inspect_document(const PodIdentity& pod, const task::Service& service,
                                              const Supervision& supervision,
                                              sandbox::Supervisor* supervisor) {
  JsonWriter json;
  json.begin_object();
  write_head(json, pod, service, supervision);
  std::vector<pid_t> processes;
  if (supervisor != nullptr)
    for (const auto& [id, container] : service.containers())
      if (container->cgroup)
        for (const pid_t pid : container->cgroup->processes()) processes.push_back(pid);
  return [json = std::move(json), processes = std::move(processes), supervisor]() mutable {
    if (supervisor != nullptr) write_snapshot(json, supervisor->snapshot(), processes);
    json.end_object();
    return json.take();
  };
}

}  // namespace shunt
