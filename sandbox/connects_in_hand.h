// Sockets whose connect(2) is being answered, so that it is one thread's business at a time.
//
// A signal ends a call, and it comes again at once, perhaps to another thread, while the first one
// does not know yet. Two threads that connected one socket would both find it established, and both
// offer another connection instead; then the two sides disagree about which of them counts.
//
// Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sandbox/call.h"

namespace shunt::sandbox {

class ConnectsInHand {
 public:
  using Arguments = std::array<std::uint64_t, 6>;
  /// Handles a call once more, from the beginning; not before it has returned.
  using Again = std::function<void(CallId, const Arguments&)>;

  explicit ConnectsInHand(Again again) : again_{std::move(again)} {}

  /// From before it is looked whether the socket is connected already until the call is answered.
  class Hold {
   public:
    Hold() = default;
    Hold(Hold&& other) noexcept
        : all_{std::exchange(other.all_, nullptr)}, cookie_{other.cookie_} {}
    Hold& operator=(Hold&& other) noexcept {
      std::swap(all_, other.all_);
      std::swap(cookie_, other.cookie_);
      return *this;
    }
    ~Hold() { release(); }
    explicit operator bool() const { return all_ != nullptr; }

    /// A call of the same thread that came meanwhile, for the same descriptor: that is `call` come
    /// again after a signal, and can be answered in its place.
    std::optional<CallId> successor(const CallId& call, int number);
    /// The calls that came meanwhile come again.
    void release();

   private:
    friend class ConnectsInHand;
    Hold(ConnectsInHand* all, std::uint64_t cookie) : all_{all}, cookie_{cookie} {}
    ConnectsInHand* all_ = nullptr;
    std::uint64_t cookie_ = 0;
  };

  /// Nothing if another call has the socket: then this one is kept.
  Hold take(std::uint64_t cookie, const CallId& call, const Arguments& arguments);
  /// No call is being answered.
  bool empty() const {
    const std::lock_guard guard{mutex_};
    return sockets_.empty();
  }

 private:
  struct Kept {
    CallId call;
    Arguments arguments{};
  };
  Again again_;
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::vector<Kept>> sockets_;  // by cookie
};

}  // namespace shunt::sandbox
