// What a scheme cost, both sides together.
#pragma once

#include <cstdint>

namespace shunt::verbs::bench {

struct Tally {
  std::uint64_t work_requests = 0;  ///< sends; receives are not counted for either scheme
  std::uint64_t signalled = 0;
  std::uint64_t posts = 0;        ///< lists of sends given to the device
  std::uint64_t completions = 0;  ///< taken from completion queues: of sends and of receives
  std::uint64_t wake_ups = 0;     ///< times a side slept and was woken by the device
  std::uint64_t copied = 0;       ///< bytes, from one program's memory to the other's
  std::uint64_t payload = 0;      ///< bytes that the programs received
  std::uint64_t messages = 0;     ///< that the programs received; 0 in a stream
  double seconds = 0;             ///< says little in an emulated machine

  Tally& operator+=(const Tally& other) {
    work_requests += other.work_requests;
    signalled += other.signalled;
    posts += other.posts;
    completions += other.completions;
    wake_ups += other.wake_ups;
    copied += other.copied;
    payload += other.payload;
    messages += other.messages;
    if (other.seconds > seconds) seconds = other.seconds;
    return *this;
  }
};

/// The same for both schemes. Side 0 writes; side 1 reads, and writes back what it read if `echo`.
struct Workload {
  const char* name = "";
  unsigned streams = 1;
  std::uint64_t bytes = 0;   ///< per stream, one way, if no echo
  std::uint32_t size = 64;   ///< of a message, with echo
  std::uint32_t rounds = 0;  ///< messages per stream, with echo: the next follows the answer
  bool echo = false;
};

}  // namespace shunt::verbs::bench
