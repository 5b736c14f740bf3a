#include "shim/command/inspect_text.h"

#include <algorithm>

#include "shim/command/table.h"

namespace shunt::command {

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

std::string pod_name_of(const Json& document) {
  const Json& pod = list_of(document, "pod");
  const std::string name = text_of(pod, "name");
  return name == "-" ? "" : text_of(pod, "namespace") + "/" + name;
}

namespace {

std::string shortened(const std::string& id) { return id.size() == 64 ? id.substr(0, 13) : id; }

void add(std::string& out, const Table& table) {
  if (!table.empty()) out += "\n" + table.text(2);
}

void add_other_nodes(std::string& out, const Json& across) {
  if (!across.value("enabled", false)) {
    if (across.contains("why_not"))
      out += "\n  nothing goes to other nodes: " + text_of(across, "why_not") + "\n";
    return;
  }
  Table offered{{"FABRIC", "OFFERED"}};
  for (const Json& fabric : list_of(across, "fabrics"))
    offered.add({text_of(fabric, "fabric"),
                 fabric.value("offered", false) ? "yes" : "no: " + text_of(fabric, "why_not")});
  add(out, offered);

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
  for (const Table* table : {&peers, &links, &streams}) add(out, *table);
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

std::string peer_of(const Json& connection, const PodNames& names) {
  const std::string pod = text_of(connection, "peer_pod");
  const auto name = names.find(pod);
  return name == names.end() ? shortened(pod) : name->second;
}

}  // namespace

void add_pod(std::string& out, const Json& document, const PodNames& names) {
  const Json& pod = list_of(document, "pod");
  const std::string name = pod_name_of(document);
  out += "POD " + shortened(text_of(pod, "id")) + (name.empty() ? "" : " (" + name + ")") +
         "   shim " + text_of(document, "shim_pid") + ", Shunt " + text_of(document, "version") +
         "\n";
  std::string addresses;
  for (const Json& address : list_of(document, "addresses"))
    addresses += (addresses.empty() ? "" : ", ") + address.get<std::string>();
  if (!addresses.empty()) out += "  addresses: " + addresses + "\n";

  Table containers{{"CONTAINER", "NAME", "PID", "STATE", "EXECS", "SUPERVISED"}};
  for (const Json& container : list_of(document, "containers")) {
    const bool supervised = container.value("supervised", false);
    containers.add({shortened(text_of(container, "id")), text_of(container, "name"),
                    text_of(container, "pid"), text_of(container, "state"),
                    text_of(container, "execs"),
                    supervised ? "yes" : "no: " + text_of(container, "why")});
  }
  add(out, containers);

  if (document.contains("why_not"))
    out += "\n  no connection is upgraded: " + text_of(document, "why_not") + "\n";

  Table listeners{{"LISTENER", "SUPERVISED", "SOCKETS"}};
  for (const Json& listener : list_of(document, "listeners"))
    listeners.add({text_of(listener, "address"), listener.value("supervised", false) ? "yes" : "no",
                   text_of(listener, "sockets")});
  add(out, listeners);

  Table connections{
      {"FAST CONNECTION", "PEER", "DIRECTION", "AGE", "UNREAD", "UNSENT", "OVER", "PEER POD"}};
  for (const Json& connection : list_of(document, "connections"))
    connections.add({text_of(connection, "local"), text_of(connection, "remote"),
                     text_of(connection, "direction"), age_of(connection),
                     text_of(connection, "unread_bytes"), text_of(connection, "unsent_bytes"),
                     text_of(connection, "fabric"), peer_of(connection, names)});
  add(out, connections);

  if (document.contains("across_nodes")) add_other_nodes(out, document["across_nodes"]);

  Table paths{{"CONNECTIONS BY PATH", "COUNT", "WHICH MEANS"}};
  for (const Json& path : list_of(document, "paths"))
    if (path.value("count", 0) != 0)
      paths.add({text_of(path, "path"), text_of(path, "count"), text_of(path, "meaning")});
  add(out, paths);

  Table calls{{"TRAPPED CALL", "OUTCOME", "COUNT"}};
  for (const Json& call : list_of(document, "calls"))
    if (call.value("count", 0) != 0)
      calls.add({text_of(call, "call"), text_of(call, "outcome"), text_of(call, "count")});
  add(out, calls);

  Table latency{{"ANSWERED WITHIN", "CALLS"}};
  for (const Json& bucket : list_of(document, "latency"))
    if (bucket.value("count", 0) != 0)
      latency.add({text_of(bucket, "within_us") + " us", text_of(bucket, "count")});
  add(out, latency);
  out += "\n";
}

}  // namespace shunt::command
