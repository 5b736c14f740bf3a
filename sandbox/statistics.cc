#include "sandbox/statistics.h"

#include <algorithm>
#include <bit>

namespace shunt::sandbox {

std::string_view name(Ending ending) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(Ending::kCount)> kNames{
      "returned", "failed", "installed", "replaced", "kernel", "gone"};
  return kNames[static_cast<std::size_t>(ending)];
}

std::string_view name(Path path) {
  constexpr std::array<std::string_view, static_cast<std::size_t>(Path::kCount)> kNames{
      "upgraded",        "no-candidate",         "other-namespace",  "unusual-option",
      "connect-failed",  "slow-handshake",       "loopback-off",     "self-connect",
      "no-local-pod",    "translated",           "not-at-server",    "not-published",
      "mailbox-full",    "name-in-use",          "name-too-long",    "short-lived",
      "left-to-kernel",  "server-went-ahead",    "too-many-threads", "shared-socket",
      "interrupted",     "supervisor-error",     "over-host",        "over-window",
      "over-verbs",      "not-discovered",       "no-link",          "fabric-full",
      "privileged",      "peer-refused",         "peer-silent",      "peer-lost",
      "accepted-fast",   "accepted-over-fabric", "accepted-in-vain", "accepted-from-outside",
      "accepted-kernel", "accepted-by-kernel"};
  return kNames[static_cast<std::size_t>(path)];
}

std::string_view meaning(Path path) {
  switch (path) {
    case Path::kUpgraded:
      return "runs over a direct socket pair";
    case Path::kNoCandidate:
      return "the address cannot lead to a pod of this node (see upgrade.ranges)";
    case Path::kOtherNamespace:
      return "the socket is of another network namespace, or the container restricted itself";
    case Path::kUnusualOption:
      return "an option or a chosen port that only the program's own socket can honour";
    case Path::kConnectFailed:
      return "the kernel refused; the program got its error";
    case Path::kSlowHandshake:
      return "not established at once";
    case Path::kLoopbackOff:
      return "inside the pod, and upgrade.loopback is false";
    case Path::kSelfConnect:
      return "the socket is connected to itself";
    case Path::kNoLocalPod:
      return "the other end is no Shunt pod of this node";
    case Path::kTranslated:
      return "translated on the way, so that a pair would show other addresses";
    case Path::kNotAtServer:
      return "redirected on the way, or not yet complete at the server";
    case Path::kNotPublished:
      return "nobody supervised listens there";
    case Path::kMailboxFull:
      return "too many offers wait to be accepted";
    case Path::kNameInUse:
      return "a living fast connection has the same addresses";
    case Path::kNameTooLong:
      return "the addresses do not fit into a socket name";
    case Path::kShortLived:
      return "one of many short connections in a row, which only lose by being replaced";
    case Path::kLeftToKernel:
      return "only strangers came to that server; it was asked to look at its clients again";
    case Path::kServerWentAhead:
      return "the server had stopped waiting for the decision";
    case Path::kTooManyThreads:
      return "no line in the node table is left";
    case Path::kSharedSocket:
      return "another descriptor or process has the socket, too";
    case Path::kInterrupted:
      return "a signal or the end of the program came in between";
    case Path::kSupervisorError:
      return "the supervisor could not do its part";
    case Path::kOverHost:
      return "runs over the network of the two nodes";
    case Path::kOverWindow:
      return "runs over shared memory of the two nodes";
    case Path::kOverVerbs:
      return "runs over RDMA";
    case Path::kNotDiscovered:
      return "behind a service, a pod that was not known yet; the next one may be upgraded";
    case Path::kNoLink:
      return "no fabric is up between the two pods";
    case Path::kFabricFull:
      return "the fabric has no room for another connection";
    case Path::kPrivileged:
      return "the container has CAP_NET_ADMIN, and only the host fabric could be used";
    case Path::kPeerRefused:
      return "the other node's shim refused";
    case Path::kPeerSilent:
      return "the other node's shim did not answer in time";
    case Path::kPeerLost:
      return "the connection to the other node's shim ended meanwhile";
    case Path::kAcceptedOverFabric:
      return "accepted from a pod of another node, over a fabric";
    case Path::kAcceptedInVain:
      return "accepted from a Shunt pod of another node that made no offer";
    case Path::kAcceptedFast:
      return "accepted as a direct socket pair";
    case Path::kAcceptedFromOutside:
      return "accepted from a client that is no Shunt pod of this node";
    case Path::kAcceptedKernel:
      return "accepted from a pod of this node that did not upgrade";
    case Path::kAcceptedByKernel:
      return "calls left to the kernel, since only strangers come, and often";
    case Path::kCount:
      break;
  }
  return "";
}

void Statistics::count_latency(std::chrono::nanoseconds taken) {
  const auto quarters = static_cast<std::uint64_t>(taken.count() < 0 ? 0 : taken.count()) / 250;
  const auto bucket =
      std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(quarters)), kBuckets - 1);
  add(latency_[bucket]);
}

}  // namespace shunt::sandbox
