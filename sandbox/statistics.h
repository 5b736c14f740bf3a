// What is counted, so that logs need not be. Any thread adds; a snapshot reads.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace shunt::sandbox {

/// How a trapped call ended.
enum class Ending { kReturned, kFailed, kInstalled, kReplaced, kKernel, kGone, kCount };
std::string_view name(Ending ending);

/// Why a TCP connection between supervised programs stayed on kernel TCP, or that it did not.
enum class Path {
  // decided by the client
  kUpgraded,
  kNoCandidate,     ///< an address that cannot lead to a pod of this node
  kOtherNamespace,  ///< a socket of a namespace that is not the pod's
  kUnusualOption,   ///< an option that only the original socket can honour
  kConnectFailed,   ///< the kernel's own error was returned
  kSlowHandshake,   ///< not established at once
  kLoopbackOff,     ///< inside the pod, and `upgrade.loopback` is false
  kSelfConnect,     ///< both ends are one socket
  kNoLocalPod,      ///< the other end is no Shunt pod of this node
  kTranslated,      ///< one side sees an address of the other that the pair could not show
  kNotAtServer,     ///< the server's namespace has no such connection: redirected, or not yet
  kNotPublished,    ///< nobody supervised listens there
  kMailboxFull,
  kNameInUse,  ///< a living fast connection has the same addresses
  kNameTooLong,
  kShortLived,       ///< this thread's connections to there are too short to gain anything
  kLeftToKernel,     ///< the server leaves its accepts to the kernel at the moment
  kServerWentAhead,  ///< the server had stopped waiting for the decision
  kTooManyThreads,   ///< more threads answer calls than the node table has lines for
  kSharedSocket,     ///< another descriptor or process has the socket, too
  kInterrupted,      ///< a signal or the end of the program came in between
  kSupervisorError,
  // the server is a Shunt pod of another node
  kOverHost,
  kOverWindow,
  kOverVerbs,
  kNotDiscovered,  ///< behind a service, and never met before
  kNoLink,         ///< no fabric is up between the two pods, or none that may be used
  kFabricFull,     ///< the fabric has no room for another stream
  kPrivileged,     ///< only the host fabric is there, and the container could reconfigure the node
  kPeerRefused,
  kPeerSilent,  ///< no answer in time
  kPeerLost,    ///< the control connection or the fabric ended meanwhile
  // decided by the server
  kAcceptedFast,
  kAcceptedOverFabric,
  kAcceptedInVain,       ///< waited for an offer of another node that did not come
  kAcceptedFromOutside,  ///< the client is no Shunt pod of this node
  kAcceptedKernel,       ///< a pod of this node, but without an offer
  kAcceptedByKernel,     ///< calls that were left to the kernel
  kCount,
};
std::string_view name(Path path);     ///< "no-candidate"
std::string_view meaning(Path path);  ///< a sentence for people

class Statistics {
 public:
  static constexpr std::size_t kCalls = 16;    ///< rows of the syscall table
  static constexpr std::size_t kBuckets = 24;  ///< latency: bucket n counts below 2^n µs / 4

  void count(std::size_t row, Ending ending) { add(calls_[row][static_cast<std::size_t>(ending)]); }
  void count(Path path) { add(paths_[static_cast<std::size_t>(path)]); }
  void count_latency(std::chrono::nanoseconds taken);

  std::uint64_t calls(std::size_t row, Ending ending) const {
    return calls_[row][static_cast<std::size_t>(ending)].load(std::memory_order_relaxed);
  }
  std::uint64_t paths(Path path) const {
    return paths_[static_cast<std::size_t>(path)].load(std::memory_order_relaxed);
  }
  std::uint64_t latency(std::size_t bucket) const {
    return latency_[bucket].load(std::memory_order_relaxed);
  }

 private:
  using Counter = std::atomic<std::uint64_t>;
  static void add(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }
  std::array<std::array<Counter, static_cast<std::size_t>(Ending::kCount)>, kCalls> calls_{};
  std::array<Counter, static_cast<std::size_t>(Path::kCount)> paths_{};
  std::array<Counter, kBuckets> latency_{};
};

}  // namespace shunt::sandbox
