// A callable that may own move-only things, such as descriptors. std::move_only_function is C++23.
#pragma once

#include <memory>
#include <utility>

namespace shunt {

template <typename Signature>
class MoveFunction;

/// Empty after construction without arguments; calling an empty one is a bug.
template <typename R, typename... Args>
class MoveFunction<R(Args...)> {
 public:
  MoveFunction() = default;
  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, MoveFunction>)
      MoveFunction(F&& callable)  // NOLINT: conversion wanted
      : held_{std::make_unique<Held<std::remove_cvref_t<F>>>(std::forward<F>(callable))} {}

  explicit operator bool() const { return held_ != nullptr; }
  R operator()(Args... args) { return held_->call(std::forward<Args>(args)...); }

 private:
  struct Base {
    Base() = default;
    Base(const Base&) = delete;
    Base& operator=(const Base&) = delete;
    virtual ~Base() = default;
    virtual R call(Args... args) = 0;
  };
  template <typename F>
  struct Held final : Base {
    explicit Held(F callable) : callable_{std::move(callable)} {}
    R call(Args... args) override { return callable_(std::forward<Args>(args)...); }
    F callable_;
  };
  std::unique_ptr<Base> held_;
};

}  // namespace shunt
