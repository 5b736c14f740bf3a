// Threads that connect again and again and keep nothing: their connections stay with the kernel.
//
// Replacing a connection costs about what some eight small round trips over it gain. A thread that
// makes one connection after the other, exchanges little on each and closes it, only loses. It is
// found out by what it does, per thread and destination:
//
//   begins  of its last 64 upgraded connects, our handling was more than a third of the time from
//           call to call, and nearly all of those sockets are gone. 8 will do where this thread, or
//           another one with that destination, was found to be of that kind in the last minute.
//           Where many are open at once, the oldest are looked at again up to three times
//   ends    the calls come more slowly than they did with the upgrades, or seldom, or a connection
//           is kept: the next one is upgraded again
//
// All is measured on the thread itself; there is no length of time in it that a faster machine
// would change, but for what "seldom" means. Where leaving them did not help, it is not tried again
// for a while. What is remembered here is about speed only: a connect(2) that runs in the kernel is
// one of a pod without Shunt. Threads and descriptors may be others by now.
//
// The servers' half. On this node nobody waits for a client that has no line open (NodeTable); the
// server is told, so that it can leave its accepts to the kernel, too. It is not told if another
// thread of the pod has its connections to it upgraded. A server of another node waits for an
// offer, until it is told that none will come, for all of the pod's connections to it. There
// nothing is left to the kernel as long as another thread of the pod offers.
//
// Any thread may call; one short lock.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <bitset>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "netstack/base/endpoint.h"

namespace shunt::sandbox {

class ShortLived {
 public:
  using Clock = std::chrono::steady_clock;
  struct Socket {  ///< a guest's
    int number = -1;
    std::uint64_t cookie = 0;
  };
  /// Whether that number is still that socket. Told of threads that are stopped in connect(2).
  using IsOpen = std::function<bool(const Socket&)>;

  struct Server {
    Endpoint address;  ///< the listener's
    IpAddress client{};
    bool far = false;  ///< of another node
  };
  struct Upgraded {
    pid_t thread = 0;
    Endpoint target;  ///< what the program asked for
    Server server;
    Clock::time_point trapped;
    Clock::time_point answered;
    Socket fast;
  };
  /// A connect(2) got its fast socket, and has been answered.
  void note(const Upgraded& done);

  /// One could not be upgraded because the server had stopped looking for offers. The pod's other
  /// threads do not make it do so for a while.
  void in_vain(pid_t thread, const Endpoint& target, Clock::time_point now);

  struct Ruling {
    bool leave = false;          ///< to the kernel
    std::optional<Server> tell;  ///< this server, that it will not get offers
  };
  /// A connect(2) on `socket`, an unconnected TCP one, that could be upgraded.
  Ruling judge(pid_t thread, const Endpoint& target, Clock::time_point trapped,
               const Socket& socket, const IsOpen& is_open);

  /// The same from memory alone: it is left to the kernel. False: ask judge(), as is done for a
  /// number that was not such a socket when judge() saw it last, or may be a fast one by now.
  bool leaves(pid_t thread, const Endpoint& target, Clock::time_point trapped, int number);
  /// A descriptor of the pod has become a fast socket, or its program has not heard that it is
  /// connected.
  void changed() { ++changes_; }

 private:
  static constexpr std::size_t kMost = 64;      // pairs of thread and destination
  static constexpr std::uint32_t kWindow = 64;  // connects that are judged at once
  static constexpr std::uint32_t kShortWindow = 8;
  static constexpr std::size_t kNumbers = 256;  // of descriptors that are remembered
  static constexpr std::size_t kSamples = 16;   // of its sockets, the oldest

  struct Entry {
    pid_t thread = 0;
    Endpoint target;
    Server server;
    Clock::time_point last;  ///< call
    bool proved = false;     ///< it was left to the kernel, and nothing has spoken against that
    // Of this window
    std::uint32_t window = kWindow;
    std::uint32_t calls = 0;
    Clock::duration between{};  ///< these and the thread's next ones
    std::uint32_t upgrades = 0;
    Clock::duration handling{};
    std::array<Socket, kSamples> samples;
    int watched = 0;  ///< windows at whose end these were still open
    // While upgraded
    Clock::time_point upgraded;   ///< the last one
    Clock::time_point in_vain;    ///< likewise
    Clock::time_point qualified;  ///< at the end of a window
    Clock::time_point not_before;
    // While left to the kernel
    bool left = false;
    int patience = 1;         ///< windows within which a connection is mostly gone
    Clock::duration usual{};  ///< between two calls, when they were upgraded
    int slow = 0;             ///< windows in a row
    Clock::duration pause = kFirstPause;
    Clock::time_point told;
    std::bitset<kNumbers> plain;    ///< numbers that were TCP sockets,
    std::uint64_t plain_since = 0;  ///< when so many had been replaced

    void start_window();
    void upgrade_again();
  };
  static constexpr std::chrono::seconds kFirstPause{1};

  struct Found {
    Entry* entry = nullptr;
    Entry* before = nullptr;  ///< of the thread's last call
  };
  Found look_up(pid_t thread, const Endpoint& target);
  Ruling leave(Entry& entry, const Socket& socket, std::optional<Server> tell) const;
  Entry* find(pid_t thread, const Endpoint& target);
  Entry& enter(pid_t thread, const Endpoint& target, Clock::time_point now);
  bool is_proved(const Endpoint& target, Clock::time_point now) const;
  void disprove(const Endpoint& target);
  static bool qualifies(Entry& entry, Clock::time_point now, const IsOpen& is_open);
  bool others_offer(const Entry& entry, Clock::time_point now) const;
  static bool goes_on(Entry& entry, Clock::time_point now, const Socket& socket,
                      const IsOpen& is_open);

  std::mutex mutex_;  // not taken by what it calls
  std::vector<Entry> entries_;
  std::atomic<std::uint64_t> changes_{0};
};

}  // namespace shunt::sandbox
