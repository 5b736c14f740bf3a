#include "shim/inspect/document.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

namespace shunt {
namespace {

using Json = nlohmann::ordered_json;

// Not Json{value}: braces make a list of one.
Json text(const std::string& value) { return value.empty() ? Json(nullptr) : Json(value); }

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

void add_snapshot(const sandbox::Snapshot& snapshot, Json& document) {
  document["upgrading"] = snapshot.upgrading;
  if (!snapshot.why_not.empty()) document["why_not"] = snapshot.why_not;
  Json& addresses = document["addresses"] = Json::array();
  for (const IpAddress& address : snapshot.addresses) addresses.push_back(to_text(address));
  Json& listeners = document["listeners"] = Json::array();
  for (const auto& listener : snapshot.listeners)
    listeners.push_back({{"address", to_text(listener.local)}, {"supervised", listener.published}});
  Json& connections = document["connections"] = Json::array();
  for (const auto& connection : snapshot.connections)
    connections.push_back({{"local", to_text(connection.local)},
                           {"remote", to_text(connection.remote)},
                           {"direction", connection.outgoing ? "out" : "in"},
                           {"unread_bytes", connection.unread_bytes},
                           {"unsent_bytes", connection.unsent_bytes},
                           {"fabric", connection.fabric},
                           {"peer_pod", text(connection.peer_pod)}});
  document["across_nodes"] = across_nodes(snapshot);
  Json& paths = document["paths"] = Json::array();
  for (std::size_t i = 0; i < snapshot.paths.size(); ++i)
    paths.push_back(
        {{"path", sandbox::name(static_cast<sandbox::Path>(i))}, {"count", snapshot.paths[i]}});
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
  if (supervisor != nullptr) add_snapshot(supervisor->snapshot(), document);
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace shunt
