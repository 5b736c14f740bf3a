#include "shim/inspect/document.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
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
  json.string("id", container.id);
  json.text("name", container.name);
  json.number("pid", container.init->pid);
  json.string("state", task::name_of(container.init->state));
  json.number("execs", container.execs.size());
  json.boolean("supervised", report != nullptr && report->listener_installed);
  if (report != nullptr && !report->left_alone.empty()) json.string("why", report->left_alone);
  json.string("pair", name_of(pair));
  std::vector<sandbox::TrapReport> otherwise;
  if (report != nullptr)
    std::copy_if(report->traps.begin(), report->traps.end(), std::back_inserter(otherwise),
                 [](const auto& trap) { return trap.outcome != sandbox::TrapOutcome::kTrapped; });
  json.objects("traps_not_as_asked", otherwise, [&](const auto& trap) {
    json.string("call", trap.name);
    json.boolean("trapped", trap.outcome == sandbox::TrapOutcome::kTrappedMore);
    json.string("why", trap.why);
  });
}

/// The beginning of the document's object.
void write_head(JsonWriter& json, const PodIdentity& pod, const task::Service& service,
                const Supervision& supervision) {
  json.string("version", SHUNT_VERSION);
  json.number("shim_pid", ::getpid());
  json.object("pod", [&] {
    json.string("id", pod.id);
    json.text("name", pod.name);
    json.text("namespace", pod.name_space);
    json.text("uid", pod.uid);
  });
  json.objects("containers", service.containers(), [&](const auto& container) {
    const auto& [id, it] = container;
    write_container(json, *it, supervision.report(id), supervision.pair(id));
  });
}

void write_link(JsonWriter& json, const fabric::LinkView& link) {
  json.string("state", link.state);
  json.object("counters", [&] {
    for (const auto& [name, count] : link.counters) json.number(name, count);
  });
  json.objects("streams", link.streams, [&](const fabric::StreamView& stream) {
    json.number("id", stream.id);
    json.string("state", stream.state);
    json.number("sent_bytes", stream.sent);
    json.number("received_bytes", stream.received);
    json.number("credit_bytes", stream.credit);
    json.number("ring_bytes", stream.ring);
    json.number("stalls", stream.stalls);
  });
}

void write_peer(JsonWriter& json, const control::PeerView& peer) {
  json.string("address", to_text(peer.address));
  json.string("phase", peer.phase);
  json.text("why", peer.why);
  json.text("pod", peer.pod);
  json.text("node", peer.node);
  json.boolean("called_by_us", peer.dialled);
  std::optional<std::int64_t> round_trip;
  if (peer.round_trip) round_trip = peer.round_trip->count();
  json.number("round_trip_us", round_trip);
  json.object("offers", [&] {
    json.number("made", peer.offered);
    json.number("accepted", peer.accepted);
    json.number("refused", peer.refused);
    json.number("unanswered", peer.unanswered);
    json.number("received", peer.asked);
    json.number("granted", peer.granted);
    json.number("passed_over", peer.passed);
  });
  json.objects("fabrics", peer.fabrics, [&](const control::FabricView& fabric) {
    json.string("fabric", fabric::name(fabric.kind));
    json.string("state", fabric.state);
    json.text("why", fabric.why);
    json.number("attempts", fabric.attempts);
    if (fabric.link) json.object("link", [&] { write_link(json, *fabric.link); });
  });
}

/// Connections to other nodes: what this node offers, and who was met.
void write_across_nodes(JsonWriter& json, const sandbox::Snapshot& snapshot) {
  json.boolean("enabled", snapshot.remote.has_value());
  if (!snapshot.remote) return json.text("why_not", snapshot.why_not_remote);
  const sandbox::RemoteView& view = *snapshot.remote;
  if (!view.why_not.empty()) json.string("why_not", view.why_not);
  json.objects("fabrics", view.fabrics, [&](const auto& fabric) {
    json.string("fabric", fabric.name);
    json.boolean("offered", fabric.offered);
    json.text("why_not", fabric.why);
  });
  json.objects("peers", view.peers.peers, [&](const auto& peer) { write_peer(json, peer); });
  json.number("addresses_without_shim", view.peers.not_shunt_total);
  json.object("calls", [&, &counters = view.peers.counters] {
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
  });
}

void write_listeners(JsonWriter& json, const sandbox::Snapshot& snapshot) {
  // A server with several processes may have several sockets at one address.
  std::map<std::tuple<std::string, int, bool>, std::size_t> sockets;
  for (const auto& listener : snapshot.listeners)
    ++sockets[{to_text(listener.local), listener.family, listener.published}];
  json.objects("listeners", sockets, [&](const auto& entry) {
    const auto& [listener, count] = entry;
    json.string("address", std::get<0>(listener));
    json.boolean("supervised", std::get<2>(listener));
    json.number("sockets", count);
  });
}

void write_connections(JsonWriter& json, const sandbox::Snapshot& snapshot,
                       const std::vector<pid_t>& processes) {
  std::vector<std::uint32_t> inodes;
  inodes.reserve(snapshot.connections.size());
  for (const auto& connection : snapshot.connections) inodes.push_back(connection.inode);
  const SocketAges ages{processes, std::move(inodes)};
  json.reserve(kConnectionBytes * snapshot.connections.size());
  json.objects("connections", snapshot.connections, [&](const auto& connection) {
    json.string("local", to_text(connection.local));
    json.string("remote", to_text(connection.remote));
    json.string("direction", connection.outgoing ? "out" : "in");
    json.string("pair", name_of(connection.kind));
    json.number("age_s", ages.of(connection.inode));
    json.number("unread_bytes", connection.unread_bytes);
    json.number("unsent_bytes", connection.unsent_bytes);
    json.string("fabric", connection.fabric);
    json.text("peer_pod", snapshot.pods[connection.peer_pod]);
  });
}

void write_counters(JsonWriter& json, const sandbox::Snapshot& snapshot) {
  std::size_t path = 0;
  json.objects("paths", snapshot.paths, [&](std::uint64_t count) {
    const auto taken = static_cast<sandbox::Path>(path++);
    json.string("path", sandbox::name(taken));
    json.string("meaning", sandbox::meaning(taken));
    json.number("count", count);
  });
  std::vector<std::tuple<std::string_view, sandbox::Ending, std::uint64_t>> calls;
  for (const auto& call : snapshot.calls)
    for (std::size_t i = 0; i < call.endings.size(); ++i)
      calls.emplace_back(call.name, static_cast<sandbox::Ending>(i), call.endings[i]);
  json.objects("calls", calls, [&](const auto& entry) {
    const auto& [call, ending, count] = entry;
    json.string("call", call);
    json.string("outcome", sandbox::name(ending));
    json.number("count", count);
  });
  double within = 0.25;  // bucket n: below 2^n quarters of a microsecond
  json.objects("latency", snapshot.latency, [&](std::uint64_t count) {
    json.number("within_us", within);
    json.number("count", count);
    within *= 2;
  });
}

void write_snapshot(JsonWriter& json, const sandbox::Snapshot& snapshot,
                    const std::vector<pid_t>& processes) {
  json.boolean("upgrading", snapshot.upgrading);
  if (!snapshot.why_not.empty()) json.string("why_not", snapshot.why_not);
  json.array("addresses", snapshot.addresses,
             [&](const IpAddress& address) { json.string(to_text(address)); });
  write_listeners(json, snapshot);
  write_connections(json, snapshot, processes);
  json.object("across_nodes", [&] { write_across_nodes(json, snapshot); });
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
