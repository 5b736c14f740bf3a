// What a program told its sockets that the kernel cannot be asked for later.
//
// A fast socket of kind unix has no TCP options of its own: what was set is remembered here and
// answered from here. For a socket that is still kernel TCP, what was set through trapped calls is
// noted, so that it can be carried over. Named by SO_COOKIE, which is never reused. The lists are
// shared between sockets that were told the same; the number of notes is bounded, oldest first out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "netstack/base/result.h"

namespace shunt::sandbox {

struct SocketOption {
  int level = 0;
  int name = 0;
  std::vector<std::byte> value;
  auto operator<=>(const SocketOption&) const = default;
};
using SocketOptions = std::vector<SocketOption>;  ///< in the order they were set, a name once

Result<std::uint64_t> socket_cookie(int socket);

class SocketNotes {
 public:
  void set(std::uint64_t cookie, SocketOption option);
  /// Never null.
  std::shared_ptr<const SocketOptions> get(std::uint64_t cookie) const;
  void put(std::uint64_t cookie, std::shared_ptr<const SocketOptions> options);
  void forget(std::uint64_t cookie);

 private:
  static constexpr std::size_t kMost = 65536;
  std::shared_ptr<const SocketOptions> shared(SocketOptions options);  // requires mutex_
  void store(std::uint64_t cookie, std::shared_ptr<const SocketOptions> options);

  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::shared_ptr<const SocketOptions>> notes_;
  std::deque<std::uint64_t> order_;
  std::map<SocketOptions, std::weak_ptr<const SocketOptions>> known_;
};

/// Sockets whose connect(2) succeeded although its caller was not told, because of a signal or
/// because it did not want to wait: the next call gets the success, once.
class UnheardConnects {
 public:
  void add(std::uint64_t cookie);
  bool take(std::uint64_t cookie);

 private:
  static constexpr std::size_t kMost = 4096;
  std::mutex mutex_;
  std::unordered_set<std::uint64_t> cookies_;
  std::deque<std::uint64_t> order_;
};

}  // namespace shunt::sandbox
