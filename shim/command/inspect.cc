#include "shim/command/inspect.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "netstack/base/unix_socket.h"
#include "shim/command/table.h"
#include "shim/files.h"
#include "shim/inspect/server.h"

namespace shunt::command {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return "-";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

const Json& list_of(const Json& object, const char* key) {
  static const Json none = Json::array();
  const auto it = object.find(key);
  return it == object.end() ? none : *it;
}

// Empty if nobody answers there: the socket of a shim that died.
std::optional<Json> ask(const std::string& path) {
  const auto shim = connect_unix(path, 0);
  if (!shim) return std::nullopt;
  const timeval limit{5, 0};
  ::setsockopt(shim->get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  Json document = Json::parse(read_descriptor(shim->get(), 256U << 20U), nullptr, false);
  if (!document.is_object()) return std::nullopt;
  return document;
}

bool is_named(const Json& document, const std::string& name) {
  if (name.empty()) return true;
  const Json& pod = list_of(document, "pod");
  const std::string pod_name = text_of(pod, "name");
  if (name == pod_name || name == text_of(pod, "namespace") + "/" + pod_name ||
      text_of(pod, "id").starts_with(name))
    return true;
  for (const Json& container : list_of(document, "containers"))
    if (text_of(container, "id").starts_with(name) || text_of(container, "name") == name)
      return true;
  return false;
}

std::string shortened(const std::string& id) { return id.size() == 64 ? id.substr(0, 13) : id; }

void print_other_nodes(const Json& across) {
  if (!across.value("enabled", false)) {
    if (across.contains("why_not"))
      std::printf("\n  nothing goes to other nodes: %s\n", text_of(across, "why_not").c_str());
    return;
  }
  Table offered{{"FABRIC", "OFFERED"}};
  for (const Json& fabric : list_of(across, "fabrics"))
    offered.add({text_of(fabric, "fabric"),
                 fabric.value("offered", false) ? "yes" : "no: " + text_of(fabric, "why_not")});
  if (!offered.empty()) std::printf("\n%s", offered.text(2).c_str());

  Table peers{{"PEER", "POD", "NODE", "STATE", "FABRIC", "LINK", "STREAMS", "OFFERS", "REFUSED"}};
  Table links{{"LINK TO", "FABRIC", "COUNTER", "VALUE"}};
  Table streams{
      {"STREAM OF", "FABRIC", "ID", "STATE", "SENT", "RECEIVED", "CREDIT", "RING", "STALLS"}};
  for (const Json& peer : list_of(across, "peers")) {
    const std::string address = text_of(peer, "address");
    const Json& offers = list_of(peer, "offers");
    for (const Json& fabric : list_of(peer, "fabrics")) {
      const Json& link = list_of(fabric, "link");
      const Json& carried = list_of(link, "streams");
      const std::string name = text_of(fabric, "fabric");
      const std::string why = text_of(fabric, "why");
      // A link that is up has more to say, such as the states of its queue pairs.
      const std::string more = text_of(link, "state");
      std::string state = text_of(fabric, "state");
      if (state == "up" && more != "-") state = more;
      if (why != "-") state += ": " + why;
      peers.add({address, shortened(text_of(peer, "pod")), text_of(peer, "node"),
                 text_of(peer, "phase"), name, state, std::to_string(carried.size()),
                 text_of(offers, "made"), text_of(offers, "refused")});
      const Json& counters = list_of(link, "counters");
      for (const auto& counter : counters.items())
        if (counter.value() != 0) links.add({address, name, counter.key(), counter.value().dump()});
      constexpr std::size_t kShown = 20;  // all of them are in the JSON
      for (std::size_t i = 0; i < std::min(carried.size(), kShown); ++i)
        streams.add({address, name, text_of(carried[i], "id"), text_of(carried[i], "state"),
                     text_of(carried[i], "sent_bytes"), text_of(carried[i], "received_bytes"),
                     text_of(carried[i], "credit_bytes"), text_of(carried[i], "ring_bytes"),
                     text_of(carried[i], "stalls")});
    }
    if (list_of(peer, "fabrics").empty())
      peers.add({address, "-", "-", text_of(peer, "phase") + ": " + text_of(peer, "why"), "-", "-",
                 "0", text_of(offers, "made"), text_of(offers, "refused")});
  }
  for (const Table* table : {&peers, &links, &streams})
    if (!table->empty()) std::printf("\n%s", table->text(2).c_str());
}

std::string age_of(const Json& connection) {
  const auto age = connection.find("age_s");
  if (age == connection.end() || !age->is_number()) return "-";
  const auto seconds = static_cast<std::uint64_t>(age->get<double>());
  constexpr std::uint64_t kMinute = 60;
  constexpr std::uint64_t kHour = 60 * kMinute;
  constexpr std::uint64_t kDay = 24 * kHour;
  if (seconds < 2 * kMinute) return std::to_string(seconds) + "s";
  if (seconds < 2 * kHour) return std::to_string(seconds / kMinute) + "m";
  if (seconds < 2 * kDay) return std::to_string(seconds / kHour) + "h";
  return std::to_string(seconds / kDay) + "d";
}

std::string pod_name_of(const Json& document) {
  const Json& pod = list_of(document, "pod");
  const std::string name = text_of(pod, "name");
  return name == "-" ? "" : text_of(pod, "namespace") + "/" + name;
}

std::string peer_of(const Json& connection) {
  const std::string name = text_of(connection, "peer_pod_name");
  return name == "-" ? shortened(text_of(connection, "peer_pod")) : name;
}

/// A shim knows other pods by their id only; who asks all of the node's shims knows their names.
void name_peers(std::vector<Json>& documents) {
  std::map<std::string, std::string> names;
  for (const Json& document : documents)
    if (const std::string name = pod_name_of(document); !name.empty())
      names[text_of(list_of(document, "pod"), "id")] = name;
  for (Json& document : documents) {
    const auto connections = document.find("connections");
    if (connections == document.end()) continue;
    for (Json& connection : *connections)
      if (const auto name = names.find(text_of(connection, "peer_pod")); name != names.end())
        connection["peer_pod_name"] = name->second;
  }
}

void print_pod(const Json& document) {
  const Json& pod = list_of(document, "pod");
  const std::string name = pod_name_of(document);
  std::printf("POD %s%s   shim %s, Shunt %s\n", shortened(text_of(pod, "id")).c_str(),
              name.empty() ? "" : (" (" + name + ")").c_str(),
              text_of(document, "shim_pid").c_str(), text_of(document, "version").c_str());
  std::string addresses;
  for (const Json& address : list_of(document, "addresses"))
    addresses += (addresses.empty() ? "" : ", ") + address.get<std::string>();
  if (!addresses.empty()) std::printf("  addresses: %s\n", addresses.c_str());

  Table containers{{"CONTAINER", "NAME", "PID", "STATE", "EXECS", "SUPERVISED"}};
  for (const Json& container : list_of(document, "containers")) {
    const bool supervised = container.value("supervised", false);
    containers.add({shortened(text_of(container, "id")), text_of(container, "name"),
                    text_of(container, "pid"), text_of(container, "state"),
                    text_of(container, "execs"),
                    supervised ? "yes" : "no: " + text_of(container, "why")});
  }
  if (!containers.empty()) std::printf("\n%s", containers.text(2).c_str());

  if (document.contains("why_not"))
    std::printf("\n  no connection is upgraded: %s\n", text_of(document, "why_not").c_str());

  Table listeners{{"LISTENER", "SUPERVISED", "SOCKETS"}};
  for (const Json& listener : list_of(document, "listeners"))
    listeners.add({text_of(listener, "address"), listener.value("supervised", false) ? "yes" : "no",
                   text_of(listener, "sockets")});
  if (!listeners.empty()) std::printf("\n%s", listeners.text(2).c_str());

  Table connections{
      {"FAST CONNECTION", "PEER", "DIRECTION", "AGE", "UNREAD", "UNSENT", "OVER", "PEER POD"}};
  for (const Json& connection : list_of(document, "connections"))
    connections.add({text_of(connection, "local"), text_of(connection, "remote"),
                     text_of(connection, "direction"), age_of(connection),
                     text_of(connection, "unread_bytes"), text_of(connection, "unsent_bytes"),
                     text_of(connection, "fabric"), peer_of(connection)});
  if (!connections.empty()) std::printf("\n%s", connections.text(2).c_str());

  if (document.contains("across_nodes")) print_other_nodes(document["across_nodes"]);

  Table paths{{"CONNECTIONS BY PATH", "COUNT", "WHICH MEANS"}};
  for (const Json& path : list_of(document, "paths"))
    if (path.value("count", 0) != 0)
      paths.add({text_of(path, "path"), text_of(path, "count"), text_of(path, "meaning")});
  if (!paths.empty()) std::printf("\n%s", paths.text(2).c_str());

  Table calls{{"TRAPPED CALL", "OUTCOME", "COUNT"}};
  for (const Json& call : list_of(document, "calls"))
    if (call.value("count", 0) != 0)
      calls.add({text_of(call, "call"), text_of(call, "outcome"), text_of(call, "count")});
  if (!calls.empty()) std::printf("\n%s", calls.text(2).c_str());

  Table latency{{"ANSWERED WITHIN", "CALLS"}};
  for (const Json& bucket : list_of(document, "latency"))
    if (bucket.value("count", 0) != 0)
      latency.add({text_of(bucket, "within_us") + " us", text_of(bucket, "count")});
  if (!latency.empty()) std::printf("\n%s", latency.text(2).c_str());
  std::printf("\n");
}

int inspect_once(const InspectOptions& options) {
  const std::string directory = inspect_directory(options.state);
  std::error_code problem;
  std::vector<std::string> sockets;
  for (const auto& entry : std::filesystem::directory_iterator{directory, problem})
    sockets.push_back(entry.path());
  if (problem && problem != std::errc::no_such_file_or_directory) {
    std::fprintf(stderr, "shunt: cannot read %s: %s\n", directory.c_str(),
                 problem.message().c_str());
    return 1;
  }
  std::sort(sockets.begin(), sockets.end());
  std::vector<Json> answers;
  for (const auto& socket : sockets)
    if (auto document = ask(socket)) answers.push_back(std::move(*document));
  name_peers(answers);
  Json found = Json::array();
  for (Json& document : answers)
    if (is_named(document, options.name)) found.push_back(std::move(document));
  if (found.empty() && !options.name.empty()) {
    std::fprintf(stderr,
                 "shunt: no pod or container \"%s\" runs under Shunt here (state directory %s)\n",
                 options.name.c_str(), options.state.c_str());
    return 1;
  }
  if (options.json) {
    std::printf("%s\n", found.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else if (found.empty()) {
    std::printf("No pod runs under Shunt here (state directory %s).\n", options.state.c_str());
  } else {
    for (const Json& document : found) print_pod(document);
  }
  std::fflush(stdout);
  return 0;
}

}  // namespace

int inspect(const InspectOptions& options) {
  while (true) {
    if (options.watch && !options.json) std::printf("\033[H\033[2J");
    const int code = inspect_once(options);
    if (!options.watch || code != 0) return code;
    std::this_thread::sleep_for(std::chrono::seconds{1});
  }
}

}  // namespace shunt::command
