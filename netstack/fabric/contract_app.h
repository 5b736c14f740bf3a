// The two applications of the contract tests: non-blocking sockets with a known stream of bytes to
// write and to expect, driven from the same thread as the links.
#pragma once

#include <cstdint>
#include <functional>

#include "netstack/fabric/contract.h"

namespace shunt::fabric::contract {

/// The stream that `seed` stands for, eight bytes at a time.
inline std::uint64_t pattern_word(std::uint64_t seed, std::uint64_t index) {
  const std::uint64_t x = (index + 1) * 0x9E3779B97F4A7C15u ^ (seed * 0xBF58476D1CE4E5B9u);
  return x ^ x >> 29;
}
inline std::byte pattern(std::uint64_t seed, std::uint64_t at) {
  return static_cast<std::byte>(pattern_word(seed, at / 8) >> (at % 8 * 8));
}

/// One application with its socket.
class App {
 public:
  App() = default;
  App(UniqueFd socket, std::uint64_t writes, std::uint64_t reads)
      : socket_{std::move(socket)}, write_seed_{writes}, read_seed_{reads} {}

  /// How many of `bytes` went out (0: none can, now).
  std::size_t write(std::size_t bytes);
  /// How many came, each checked against the expected pattern.
  std::size_t read(std::size_t at_most);
  void shut_write();
  void close() { socket_.reset(); }
  int fd() const { return socket_.get(); }

  std::uint64_t written = 0;
  std::uint64_t got = 0;
  int write_error = 0;  ///< last errno other than EAGAIN
  int read_error = 0;
  bool ended = false;  ///< read the end of file
  bool wrong = false;  ///< a byte that should not be there

 private:
  UniqueFd socket_;
  std::uint64_t write_seed_ = 0;
  std::uint64_t read_seed_ = 0;
};

struct Connection {
  App client;  ///< at the side that dialled
  App server;
};

/// Two links on a loop, and what their failure callbacks said.
struct Bench {
  explicit Bench(const MakePair& make);

  EventLoop loop;
  int dialled_failed = 0;  ///< errno, once it failed
  int listened_failed = 0;
  Pair pair;

  /// Runs the loop until `done` (asked after every turn); false if it was not after ten minutes,
  /// which no machine is too busy for.
  bool until(const std::function<bool()>& done);
  /// Lets everything that is under way settle.
  void settle(int turns = 20);

  Result<Half> open(Link& link, StreamId id);
  Result<Half> accept(Link& link, StreamId id, View offer);
  /// An established stream, opened by the side that dialled (odd id) or by the other one.
  Connection connect(StreamId id);

  int send_buffer = 8 << 20;  ///< of the sockets that make_ends() makes
  MakeEnds make_ends() const;
};

/// Room for four descriptors per stream.
bool raise_descriptor_limit(std::size_t wanted);

}  // namespace shunt::fabric::contract
