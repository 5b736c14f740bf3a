#include "shim/inspect/document.h"

#include <unistd.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "shim/inspect/ages.h"

namespace shunt {
namespace {

using Json = nlohmann::ordered_json;

// Not Json{value}: braces make a list of one.
Json text(const std::string& value) { return value.empty() ? Json(nullptr) : Json(value); }

const char* name_of(config::Pair pair) { return pair == config::Pair::kTcp ? "tcp" : "unix"; }

Json containers_of(const task::Service& service, const Supervision& supervision) {
  Json list = Json::array();
  for (const auto& [id, container] : service.containers()) {
    Json entry{{"id", id},
               {"name", text(container->name)},
               {"pid", container->init->pid},
               {"state", task::name_of(container->init->state)},
               {"execs", container->execs.size()}};
    const sandbox::MergeReport* report = supervision.report(id);
    entry["supervised"] = report != nullptr && report->listener_installed;
    if (report != nullptr && !report->left_alone.empty()) entry["why"] = report->left_alone;
    entry["pair"] = name_of(supervision.pair(id));
    Json traps = Json::array();
    if (report != nullptr)
      for (const auto& trap : report->traps)
        if (trap.outcome != sandbox::TrapOutcome::kTrapped)
          traps.push_back({{"call", trap.name},
                           {"trapped", trap.outcome == sandbox::TrapOutcome::kTrappedMore},
                           {"why", trap.why}});
    entry["traps_not_as_asked"] = traps;
    list.push_back(entry);
  }
  return list;
}

Json link_of(const fabric::LinkView& link) {
  Json streams = Json::array();
  for (const fabric::StreamView& stream : link.streams)
    streams.push_back({{"id", stream.id},
                       {"state", stream.state},
                       {"sent_bytes", stream.sent},
                       {"received_bytes", stream.received},
                       {"credit_bytes", stream.credit},
                       {"ring_bytes", stream.ring},
                       {"stalls", stream.stalls}});
  Json counters = Json::object();
  for (const auto& [name, count] : link.counters) counters[name] = count;
  return {{"state", link.state}, {"counters", counters}, {"streams", streams}};
}

Json peer_of(const control::PeerView& peer) {
  Json entry{{"address", to_text(peer.address)},
             {"phase", peer.phase},
             {"why", text(peer.why)},
             {"pod", text(peer.pod)},
             {"node", text(peer.node)},
             {"called_by_us", peer.dialled}};
  entry["round_trip_us"] = peer.round_trip ? Json(peer.round_trip->count()) : Json(nullptr);
  entry["offers"] = {{"made", peer.offered},      {"accepted", peer.accepted},
                     {"refused", peer.refused},   {"unanswered", peer.unanswered},
                     {"received", peer.asked},    {"granted", peer.granted},
                     {"passed_over", peer.passed}};
  Json& fabrics = entry["fabrics"] = Json::array();
  for (const control::FabricView& fabric : peer.fabrics) {
    Json row{{"fabric", fabric::name(fabric.kind)},
             {"state", fabric.state},
             {"why", text(fabric.why)},
             {"attempts", fabric.attempts}};
    if (fabric.link) row["link"] = link_of(*fabric.link);
    fabrics.push_back(row);
  }
  return entry;
}

/// Connections to other nodes: what this node offers, and who was met.
Json across_nodes(const sandbox::Snapshot& snapshot) {
  if (!snapshot.remote) return {{"enabled", false}, {"why_not", text(snapshot.why_not_remote)}};
  const sandbox::RemoteView& view = *snapshot.remote;
  Json result{{"enabled", true}};
  if (!view.why_not.empty()) result["why_not"] = view.why_not;
  Json& fabrics = result["fabrics"] = Json::array();
  for (const auto& fabric : view.fabrics)
    fabrics.push_back(
        {{"fabric", fabric.name}, {"offered", fabric.offered}, {"why_not", text(fabric.why)}});
  Json& peers = result["peers"] = Json::array();
  for (const control::PeerView& peer : view.peers.peers) peers.push_back(peer_of(peer));
  result["addresses_without_shim"] = view.peers.not_shunt_total;
  const control::Counters& counters = view.peers.counters;
  result["calls"] = {{"made", counters.dials},
                     {"refused", counters.refused},
                     {"silent", counters.silent},
                     {"accepted", counters.accepted},
                     {"forged", counters.forged},
                     {"wrong_key", counters.wrong_key},
                     {"other_version", counters.version},
                     {"misbehaved", counters.misbehaved},
                     {"lost", counters.lost},
                     {"crowded", counters.crowded}};
  return result;
}

std::map<std::uint32_t, double> ages_of(const sandbox::Snapshot& snapshot,
                                        const task::Service& service) {
  std::set<std::uint32_t> inodes;
  for (const auto& connection : snapshot.connections) inodes.insert(connection.inode);
  std::vector<pid_t> processes;
  if (!inodes.empty())
    for (const auto& [id, container] : service.containers())
      if (container->cgroup)
        for (const pid_t pid : container->cgroup->processes()) processes.push_back(pid);
  return socket_ages(processes, inodes);
}

void add_snapshot(const sandbox::Snapshot& snapshot, const std::map<std::uint32_t, double>& ages,
                  Json& document) {
  document["upgrading"] = snapshot.upgrading;
  if (!snapshot.why_not.empty()) document["why_not"] = snapshot.why_not;
  Json& addresses = document["addresses"] = Json::array();
  for (const IpAddress& address : snapshot.addresses) addresses.push_back(to_text(address));
  Json& listeners = document["listeners"] = Json::array();
  // A server with several processes may have several sockets at one address.
  std::map<std::tuple<std::string, int, bool>, std::size_t> sockets;
  for (const auto& listener : snapshot.listeners)
    ++sockets[{to_text(listener.local), listener.family, listener.published}];
  for (const auto& [listener, count] : sockets)
    listeners.push_back({{"address", std::get<0>(listener)},
                         {"supervised", std::get<2>(listener)},
                         {"sockets", count}});
  Json& connections = document["connections"] = Json::array();
  for (const auto& connection : snapshot.connections) {
    const auto age = ages.find(connection.inode);
    connections.push_back({{"local", to_text(connection.local)},
                           {"remote", to_text(connection.remote)},
                           {"direction", connection.outgoing ? "out" : "in"},
                           {"pair", name_of(connection.kind)},
                           {"age_s", age == ages.end() ? Json(nullptr) : Json(age->second)},
                           {"unread_bytes", connection.unread_bytes},
                           {"unsent_bytes", connection.unsent_bytes},
                           {"fabric", connection.fabric},
                           {"peer_pod", text(connection.peer_pod)}});
  }
  document["across_nodes"] = across_nodes(snapshot);
  Json& paths = document["paths"] = Json::array();
  for (std::size_t i = 0; i < snapshot.paths.size(); ++i) {
    const auto path = static_cast<sandbox::Path>(i);
    paths.push_back({{"path", sandbox::name(path)},
                     {"meaning", sandbox::meaning(path)},
                     {"count", snapshot.paths[i]}});
  }
  Json& calls = document["calls"] = Json::array();
  for (const auto& call : snapshot.calls)
    for (std::size_t i = 0; i < call.endings.size(); ++i)
      calls.push_back({{"call", call.name},
                       {"outcome", sandbox::name(static_cast<sandbox::Ending>(i))},
                       {"count", call.endings[i]}});
  Json& latency = document["latency"] = Json::array();
  double within = 0.25;  // bucket n: below 2^n quarters of a microsecond
  for (const std::uint64_t count : snapshot.latency) {
    latency.push_back({{"within_us", within}, {"count", count}});
    within *= 2;
  }
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

std::string inspect_document(const PodIdentity& pod, const task::Service& service,
                             const Supervision& supervision, sandbox::Supervisor* supervisor) {
  Json document{{"version", SHUNT_VERSION},
                {"shim_pid", ::getpid()},
                {"pod",
                 {{"id", pod.id},
                  {"name", text(pod.name)},
                  {"namespace", text(pod.name_space)},
                  {"uid", text(pod.uid)}}},
                {"containers", containers_of(service, supervision)}};
  if (supervisor != nullptr) {
    const sandbox::Snapshot snapshot = supervisor->snapshot();
    add_snapshot(snapshot, ages_of(snapshot, service), document);
  }
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace shunt
