// What a fallible function returns: a value, or an errno with the call that gave it.
//
// Functions do not log their errors; whoever turns one into an answer or an exit logs it once.
#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <variant>

namespace shunt {

/// An errno and the call that produced it. `number` is positive, never 0.
struct Error {
  int number = EIO;
  const char* where = "";  ///< a literal: "connect", "ibv_post_send"
};

inline Error last_error(const char* where) { return {errno, where}; }

/// "connect: ECONNREFUSED (Connection refused)", for logs and messages.
std::string describe(const Error& error);
/// "ECONNREFUSED"; "errno 4711" for a number Linux does not name.
std::string errno_name(int number);

/// Spelled like std::expected, so that it can become an alias on the day both compilers have one.
/// Reading the value of an error (or the reverse) ends the process: std::get throws, nobody
/// catches.
template <typename T, typename E = Error>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_{std::in_place_index<0>, std::move(value)} {}  // NOLINT: conversion wanted
  Result(E error)
      : state_{std::in_place_index<1>, std::move(error)} {}  // NOLINT: conversion wanted
  explicit operator bool() const noexcept { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const E& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, E> state_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace shunt
