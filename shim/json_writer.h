// Writes JSON piece by piece into one string: for documents so large that building them in memory
// first would cost more than writing them. Names, values and ends must come in an order that makes
// sense; nothing checks that. The text is what nlohmann::json::dump() would make of the same.
//
// RapidJSON's writer is as fast and as small (`shunt inspect` of 10,000 connections took both 0.2 s
// and 16 MiB), but its newest release, of 2016, adds to null pointers: a sanitized build ends at
// the first object. nlohmann's cannot write what it does not hold: 1.2 s and 32 MiB in the shim.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace shunt {

class JsonWriter {
 public:
  /// `indent`: spaces for each level; 0: everything on one line, without spaces. `depth`: of the
  /// place where the value is going to stand, in the text of another writer.
  explicit JsonWriter(unsigned indent = 0, unsigned depth = 0)
      : indent_{indent}, depth_{depth}, placed_{true} {}

  void begin_object() { begin('{'); }
  void end_object() { end('}'); }
  void begin_array() { begin('['); }
  void end_array() { end(']'); }
  void key(std::string_view name);

  void null() { verbatim("null"); }
  void boolean(bool value) { verbatim(value ? "true" : "false"); }
  void number(std::unsigned_integral auto value) { natural(value); }
  void number(std::signed_integral auto value) { integer(value); }
  void number(double value);             ///< null if it is not finite
  void string(std::string_view value);   ///< bytes that are no UTF-8 become U+FFFD
  void verbatim(std::string_view json);  ///< a value that is JSON already

  // A name and its value. A string that is empty is null in `text`, for what may be unknown.
  void string(std::string_view name, std::string_view value) { key(name), string(value); }
  void text(std::string_view name, std::string_view value) {
    key(name);
    value.empty() ? null() : string(value);
  }
  void boolean(std::string_view name, bool value) { key(name), boolean(value); }
  void number(std::string_view name, auto value) { key(name), number(value); }
  /// Null if there is none.
  template <typename T>
  void number(std::string_view name, const std::optional<T>& value) {
    key(name);
    value ? number(*value) : null();
  }
  /// `members()` writes what is in the object.
  void object(std::string_view name, auto members) { key(name), object(members); }
  /// `element(item)` writes a value for each of `items`.
  void array(std::string_view name, const auto& items, auto element) {
    key(name);
    begin_array();
    for (const auto& item : items) element(item);
    end_array();
  }
  /// `members(item)` writes what is in the object for each of `items`.
  void objects(std::string_view name, const auto& items, auto members) {
    array(name, items, [&](const auto& item) { object([&] { members(item); }); });
  }

  /// Room for so many bytes beyond what is written.
  void reserve(std::size_t bytes) { out_.reserve(out_.size() + bytes); }
  /// Leaves nothing behind.
  std::string take() { return std::move(out_); }

 private:
  void object(auto members) {
    begin_object();
    members();
    end_object();
  }
  void begin(char bracket);
  void end(char bracket);
  void separate();  ///< before a name, or a value that has none
  void new_line();
  void quote(std::string_view value);
  void natural(std::uint64_t value);
  void integer(std::int64_t value);

  std::string out_;
  unsigned indent_;
  unsigned depth_;
  bool placed_;  ///< the value that comes needs nothing in front: it has its name, or is alone
  bool first_ = true;  ///< of its object or array
};

}  // namespace shunt
