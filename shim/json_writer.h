// Writes JSON piece by piece into one string: for documents so large that building them in memory
// first would cost more than writing them. Names, values and ends must come in an order that makes
// sense; nothing checks that. The text is what nlohmann::json::dump() would make of the same.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
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
  void object(std::string_view name) { key(name), begin_object(); }
  void array(std::string_view name) { key(name), begin_array(); }
  void string(std::string_view name, std::string_view value) { key(name), string(value); }
  void text(std::string_view name, std::string_view value) {
    key(name);
    value.empty() ? null() : string(value);
  }
  void boolean(std::string_view name, bool value) { key(name), boolean(value); }
  void number(std::string_view name, auto value) { key(name), number(value); }

  void reserve(std::size_t bytes) { out_.reserve(bytes); }
  const std::string& so_far() const { return out_; }
  /// Leaves nothing behind.
  std::string take() { return std::move(out_); }

 private:
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
