#include "sandbox/verdict.h"

#include <algorithm>

#include "sandbox/remote.h"

namespace shunt::sandbox {
namespace {

using local::Peek;
using std::chrono::milliseconds;

constexpr milliseconds kPatience{20};    // with a client that has not decided
constexpr milliseconds kTakenBack{2};    // between the client's end closing and its reset arriving
constexpr milliseconds kAskKernel{10};   // after which a lost reset is suspected
constexpr milliseconds kGiveUp{5000};    // waiting for a reset, long after the client decided
constexpr milliseconds kEvidence{1000};  // of what a client did whose shim cannot be heard any more

bool still_open(const local::NodeTable& table, const Arrival& arrival) {
  return std::any_of(arrival.undecided.begin(), arrival.undecided.end(),
                     [&](const auto& since) { return !table.decided(since); });
}

/// The client's kernel still has the connection: the program itself has the TCP socket.
bool client_has_it(PodNetwork& network, const Arrival& arrival) {
  const auto pods = network.owners(arrival.client.address);
  return std::any_of(pods.begin(), pods.end(), [&](const auto& pod) {
    const auto state = network.look_up(*pod, arrival.client, arrival.server);
    return state && state->established;
  });
}

/// The client is of another node. Its shim's word comes another way than the TCP connection, and
/// may be late or never come; what the sockets say counts as well.
Verdict judge_remote(const Listener& listener, Arrival& arrival, Peek tcp) {
  const bool alive = tcp == Peek::kSilent || tcp == Peek::kData;
  const auto age = std::chrono::steady_clock::now() - arrival.since;
  Remote& remote = *arrival.remote;
  if (!arrival.offer) {
    // With data the program itself has the TCP socket, or another thread of it has not waited.
    if (tcp != Peek::kData) {
      arrival.offer = remote.take(*listener.mailbox, arrival.client, arrival.server);
      if (!arrival.offer && alive && remote.keep_waiting(arrival.client, arrival.server, age))
        return Verdict::kWait;
    }
    if (!arrival.offer)
      arrival.offer = remote.go_ahead(*listener.mailbox, arrival.client, arrival.server);
    if (!arrival.offer) return Verdict::kTcp;
  }
  const local::Decision decision = arrival.offer->decision == nullptr
                                       ? local::Decision::kConfirmed
                                       : arrival.offer->decision->load();
  const bool withdrawn = decision == local::Decision::kWithdrawn;
  if (withdrawn || (tcp == Peek::kData && decision != local::Decision::kConfirmed)) {
    arrival.offer.reset();
    return Verdict::kTcp;
  }
  if (decision == local::Decision::kConfirmed || !alive) return Verdict::kFast;
  const Peek fast = local::peek(arrival.offer->socket.get());
  if (fast == Peek::kData) return Verdict::kFast;
  if (decision == local::Decision::kPending || age < kEvidence) return Verdict::kWait;
  arrival.offer.reset();
  return Verdict::kTcp;
}

}  // namespace

Verdict judge(PodNetwork* network, const Listener& listener, Arrival& arrival) {
  if (listener.mailbox == nullptr) return Verdict::kTcp;
  const Peek tcp = local::peek(arrival.tcp.get());
  if (arrival.remote != nullptr) return judge_remote(listener, arrival, tcp);
  const bool alive = tcp == Peek::kSilent || tcp == Peek::kData;
  // A client whose pod has left since looks like a stranger; but its connection is over.
  if (arrival.foreign && alive) return Verdict::kTcp;
  if (arrival.server.port == 0)
    arrival.server = local_endpoint(arrival.tcp.get()).value_or(Endpoint{});
  const auto age = std::chrono::steady_clock::now() - arrival.since;
  if (!arrival.offer) {
    const local::NodeTable& table = network->table();
    const bool open = still_open(table, arrival);
    // The end of a decision is a reset, which makes the socket readable: no need to look before.
    if (open && tcp == Peek::kSilent && age < kPatience) return Verdict::kWait;
    arrival.offer = listener.mailbox->take(arrival.client, arrival.server);
    if (!arrival.offer && open) {
      if (age < kPatience) return Verdict::kWait;
      for (const auto& since : arrival.undecided) table.refuse(since);
      // Decided since the first look, or refused now: whatever was offered is in the mailbox.
      arrival.offer = listener.mailbox->take(arrival.client, arrival.server);
    }
    if (!arrival.offer) return Verdict::kTcp;
  }

  if (!alive) return Verdict::kFast;  // reset: the client has its own end
  const Peek fast = local::peek(arrival.offer->socket.get());
  if (fast == Peek::kData) return Verdict::kFast;
  if (tcp == Peek::kData) return Verdict::kTcp;  // the program itself has the TCP socket
  if (fast == Peek::kSilent && age < kAskKernel) return Verdict::kWait;
  if (fast != Peek::kSilent && age < kTakenBack) return Verdict::kWait;
  // The offer was taken back, or it holds and the reset that says so is late or lost. The kernel of
  // the client's namespace knows.
  if (client_has_it(*network, arrival)) {
    if (fast != Peek::kSilent) return Verdict::kTcp;
    // Committed and not reset: another descriptor keeps it, which its supervisor could neither find
    // nor do without (see put_in_place()). Whoever accepts is not to wait for that one.
    const bool kept = age >= kGiveUp && !still_open(network->table(), arrival);
    return kept ? Verdict::kFast : Verdict::kWait;
  }
  // Since the first look the program may have written to the socket it was left, and finished.
  const Peek now = local::peek(arrival.tcp.get());
  const bool used = now == Peek::kData || (now == Peek::kEnd && fast != Peek::kSilent);
  return used ? Verdict::kTcp : Verdict::kFast;
}

}  // namespace shunt::sandbox
