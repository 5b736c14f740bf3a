// Counts what connections over RDMA cost the device and the host, in our scheme and in the one of
// TCP sockets over RDMA (one signalled write in flight per stream, one_write.h), for the same
// workloads. Needs a device: scripts/rdma-guest build/release/netstack/verbs_scheme_bench
//
// Counts and their ratios mean the same under emulation; times do not and are not compared.
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "netstack/verbs/bench/one_write.h"
#include "netstack/verbs/bench/ours.h"

namespace shunt::verbs::bench {
namespace {

using Run = Result<Tally> (*)(const Workload&, bool writer, int other);

Result<Tally> one_write(const Workload& workload, bool writer, int other) {
  auto calls = load_library();
  if (!calls) return calls.error();
  auto device = Device::open(**calls, "");
  if (!device) return device.error();
  return run_one_write(**device, workload, writer, other);
}

/// Both sides, each in a process of its own; the sum of what they counted.
Result<Tally> run_both(Run run, const Workload& workload) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return last_error("socketpair");
  const UniqueFd ours{pair[0]};
  const UniqueFd theirs{pair[1]};
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return last_error("fork");
  const bool writer = child != 0;
  const int other = writer ? ours.get() : theirs.get();
  auto tally = run(workload, writer, other);
  if (!tally) {
    std::fprintf(stderr, "%s: %s: %s\n", workload.name, writer ? "writer" : "reader",
                 describe(tally.error()).c_str());
    tally = Tally{};
  }
  Tally theirs_tally;
  const Status swapped = swap_bytes(other, &*tally, &theirs_tally, sizeof theirs_tally);
  if (!writer) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  if (!swapped) return swapped.error();
  *tally += theirs_tally;
  return tally;
}

double ratio(std::uint64_t one, std::uint64_t two) {
  return two == 0 ? 0.0 : static_cast<double>(one) / static_cast<double>(two);
}

void print(const char* scheme, const Workload& workload, const Tally& tally) {
  const double units = workload.echo ? static_cast<double>(tally.messages)
                                     : static_cast<double>(tally.payload) / (1 << 20);
  const auto per = [&](std::uint64_t count) { return static_cast<double>(count) / units; };
  std::printf("  %-10s %12.2f %10.2f %10.2f %12.2f %10.3f %10.2f %10.1f\n", scheme,
              per(tally.work_requests), per(tally.signalled), per(tally.posts),
              per(tally.completions), per(tally.wake_ups),
              static_cast<double>(tally.copied) / static_cast<double>(tally.payload),
              tally.seconds);
}

int run_all(bool quick) {
  const std::uint64_t scale = quick ? 1 : 4;
  const std::array workloads{
      Workload{"stream, 1 connection", 1, scale * (16 << 20)},
      Workload{"stream, 16 connections", 16, scale * (2 << 20)},
      Workload{"request and response of 64 B, 1 connection", 1, 0, 64,
               static_cast<std::uint32_t>(scale * 500), true},
      Workload{"request and response of 64 B, 64 connections", 64, 0, 64,
               static_cast<std::uint32_t>(scale * 50), true},
  };
  int failures = 0;
  for (const Workload& workload : workloads) {
    const auto theirs = run_both(one_write, workload);
    const auto ours = run_both(run_ours, workload);
    if (!theirs || !ours || theirs->payload == 0 || ours->payload == 0) {
      std::printf("%s: failed\n", workload.name);
      ++failures;
      continue;
    }
    std::printf("%s, per %s, both sides\n", workload.name, workload.echo ? "message" : "MiB");
    std::printf("  %-10s %12s %10s %10s %12s %10s %10s %10s\n", "scheme", "requests", "signalled",
                "posts", "completions", "wake-ups", "copies/B", "seconds");
    print("one write", workload, *theirs);
    print("ours", workload, *ours);
    const double per_ours = ratio(ours->completions, ours->payload);
    const double per_theirs = ratio(theirs->completions, theirs->payload);
    std::printf("  completions: %.1f x fewer\n\n", per_theirs / per_ours);
  }
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace shunt::verbs::bench

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::string_view{argv[1]} == "--quick";
  return shunt::verbs::bench::run_all(quick);
}
