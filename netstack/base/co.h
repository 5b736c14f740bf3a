// Coroutines on one event loop thread, so that "run the runtime, then read its pid file, then
// answer" reads in that order. Co<T> is lazy and awaited once; spawn() starts one nobody awaits.
//
// Two rules that keep g++ 12 honest (its frame layout for temporaries has bugs): arguments of a
// coroutine are taken by value, and what is awaited is a named variable or a plain call.
#pragma once

#include <coroutine>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace shunt {

template <typename T>
class [[nodiscard]] Co;

namespace co_detail {

struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> done) const noexcept {
    return done.promise().continuation;
  }
  void await_resume() const noexcept {}
};

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() const noexcept { std::terminate(); }  // errors are values here
};

template <typename T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Co<T> get_return_object();
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
};

template <>
struct Promise<void> : PromiseBase {
  Co<void> get_return_object();
  void return_void() const noexcept {}
};

}  // namespace co_detail

template <typename T>
class [[nodiscard]] Co {
 public:
  using promise_type = co_detail::Promise<T>;
  explicit Co(std::coroutine_handle<promise_type> handle) : handle_{handle} {}
  Co(Co&& other) noexcept : handle_{std::exchange(other.handle_, nullptr)} {}
  Co& operator=(Co&&) = delete;
  ~Co() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    handle_.promise().continuation = caller;
    return handle_;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return std::move(*handle_.promise().value);
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

namespace co_detail {

template <typename T>
Co<T> Promise<T>::get_return_object() {
  return Co<T>{std::coroutine_handle<Promise>::from_promise(*this)};
}
inline Co<void> Promise<void>::get_return_object() {
  return Co<void>{std::coroutine_handle<Promise>::from_promise(*this)};
}

struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }
  };
};

inline Detached run_detached(Co<void> work) { co_await work; }

}  // namespace co_detail

/// Runs until the first suspension now; the rest whenever its awaitables resume it.
inline void spawn(Co<void> work) { co_detail::run_detached(std::move(work)); }

/// Something that happens once. Copies share it. Any number of coroutines wait; set() resumes them
/// in order.
template <typename T>
class Once {
  struct State {
    std::optional<T> value;
    std::deque<std::coroutine_handle<>> waiters;
  };

 public:
  bool is_set() const { return state_->value.has_value(); }
  const T& value() const { return *state_->value; }
  void set(T value) const {
    if (state_->value) return;
    const auto keep = state_;
    keep->value.emplace(std::move(value));
    for (auto waiting = std::move(keep->waiters); !waiting.empty(); waiting.pop_front())
      waiting.front().resume();
  }

  struct Awaiter {
    std::shared_ptr<State> state;
    bool await_ready() const noexcept { return state->value.has_value(); }
    void await_suspend(std::coroutine_handle<> caller) { state->waiters.push_back(caller); }
    T await_resume() const { return *state->value; }
  };
  Awaiter wait() const { return Awaiter{state_}; }

 private:
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

/// Serialises coroutines, first come first served: `auto guard = co_await gate.enter();`
class Gate {
 public:
  class Guard {
   public:
    explicit Guard(Gate* gate) : gate_{gate} {}
    Guard(Guard&& other) noexcept : gate_{std::exchange(other.gate_, nullptr)} {}
    Guard& operator=(Guard&&) = delete;
    ~Guard() {
      if (gate_ != nullptr) gate_->leave();
    }

   private:
    Gate* gate_;
  };
  struct Awaiter {
    Gate& gate;
    bool await_ready() noexcept { return !std::exchange(gate.held_, true); }
    void await_suspend(std::coroutine_handle<> caller) { gate.waiters_.push_back(caller); }
    Guard await_resume() noexcept { return Guard{&gate}; }
  };
  Awaiter enter() { return Awaiter{*this}; }

 private:
  void leave() {
    if (waiters_.empty()) {
      held_ = false;
      return;
    }
    const auto next = waiters_.front();  // it holds the gate now
    waiters_.pop_front();
    next.resume();
  }
  bool held_ = false;
  std::deque<std::coroutine_handle<>> waiters_;
};

}  // namespace shunt
