#include "sandbox/connection_list.h"

#include <map>
#include <tuple>
#include <unordered_map>

#include "netstack/base/netns.h"
#include "netstack/local/fast_list.h"

namespace shunt::sandbox {
namespace {

using Connection = Snapshot::Connection;

/// Which pod has an address, as an index into Snapshot::pods; 0 if none is known.
class Pods {
 public:
  explicit Pods(std::vector<std::string>& ids) : ids_{ids} {}

  /// The last one to claim an address has it.
  void add(const std::string& id, const std::vector<IpAddress>& addresses) {
    const auto index = static_cast<std::uint32_t>(ids_.size());
    ids_.push_back(id);
    for (const IpAddress& address : addresses) owners_[address] = index;
  }
  std::uint32_t at(const IpAddress& address) const {
    const auto owner = owners_.find(address);
    return owner == owners_.end() ? 0 : owner->second;
  }

 private:
  std::vector<std::string>& ids_;
  std::unordered_map<IpAddress, std::uint32_t> owners_;
};

const IpAddress& other_end(const local::FastName& name, bool is_client) {
  return is_client ? name.server.address : name.client.address;
}

Connection connection_of(const local::FastSocket& end) {
  Connection connection;
  connection.local = end.local();
  connection.remote = end.remote();
  connection.outgoing = end.is_client;
  return connection;
}

}  // namespace

void list_connections(PodNetwork& network, const std::string& own_pod, Snapshot& snapshot) {
  const InNetns inside{network.private_netns()};
  if (!inside.entered()) return;
  const auto entries = local::list_fast_sockets(network.netns());
  if (!entries) return;

  Pods near{snapshot.pods};
  near.add(own_pod, network.addresses());
  const std::uint32_t own = 1;
  for (const auto& pod : network.table().all()) near.add(pod->record.pod_id, pod->record.addresses);
  Pods distant{snapshot.pods};
  std::map<std::tuple<Endpoint, Endpoint, bool>, fabric::Kind> pumped;
  if (snapshot.remote) {
    for (const control::PeerView& peer : snapshot.remote->peers.peers)
      distant.add(peer.pod, {peer.address});
    for (const RemoteView::Stream& stream : snapshot.remote->streams) {
      const local::FastSocket& end = stream.socket;
      if (stream.kind != fabric::Kind::kHost) {
        pumped[{end.local(), end.remote(), end.is_client}] = stream.kind;
        continue;
      }
      Connection connection = connection_of(end);
      connection.kind = config::Pair::kTcp;
      connection.fabric = fabric::name(stream.kind);
      connection.inode = stream.inode;
      connection.unread_bytes = stream.queues.unread;
      connection.unsent_bytes = stream.queues.unsent;
      connection.peer_pod = distant.at(other_end(end.name, end.is_client));
      snapshot.connections.push_back(connection);
    }
  }

  snapshot.connections.reserve(snapshot.connections.size() + entries->size());
  for (const local::FastEntry& entry : *entries) {
    const local::FastSocket end{entry.name, entry.is_client};
    const bool tcp = entry.netns == 0;
    if (tcp && !network.is_own(end.local().address)) continue;
    Connection connection = connection_of(end);
    connection.kind = tcp ? config::Pair::kTcp : config::Pair::kUnix;
    connection.inode = entry.inode;
    connection.unread_bytes = entry.unread;
    connection.unsent_bytes = entry.unsent;
    const IpAddress& other = other_end(entry.name, entry.is_client);
    const auto stream = pumped.find({end.local(), end.remote(), entry.is_client});
    if (stream != pumped.end()) {
      connection.fabric = fabric::name(stream->second);
      connection.peer_pod = distant.at(other);
    } else {
      connection.fabric = "local";
      connection.peer_pod = near.at(other);
      if (connection.peer_pod == 0 && network.is_own(other)) connection.peer_pod = own;
    }
    snapshot.connections.push_back(connection);
  }
}

}  // namespace shunt::sandbox
