#include "shim/json_writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

namespace shunt {
namespace {

using Json = nlohmann::ordered_json;

bool is_plain(char byte) { return byte >= ' ' && byte <= '~' && byte != '"' && byte != '\\'; }

}  // namespace

void JsonWriter::key(std::string_view name) {
  separate();
  quote(name);
  out_ += indent_ == 0 ? ":" : ": ";
  placed_ = true;
}

// Not std::to_chars(), whose tables for it are 100 KiB of program.
void JsonWriter::number(double value) { verbatim(Json(value).dump()); }

void JsonWriter::natural(std::uint64_t value) {
  std::array<char, 20> text;  // NOLINT: filled
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  verbatim({text.data(), static_cast<std::size_t>(end - text.data())});
}

void JsonWriter::integer(std::int64_t value) {
  std::array<char, 20> text;  // NOLINT: filled
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  verbatim({text.data(), static_cast<std::size_t>(end - text.data())});
}

void JsonWriter::string(std::string_view value) {
  separate();
  quote(value);
}

void JsonWriter::verbatim(std::string_view json) {
  separate();
  out_ += json;
}

void JsonWriter::begin(char bracket) {
  separate();
  out_ += bracket;
  ++depth_;
  first_ = true;
}

void JsonWriter::end(char bracket) {
  --depth_;
  if (!first_) new_line();
  out_ += bracket;
  first_ = false;
}

void JsonWriter::separate() {
  if (std::exchange(placed_, false)) return;
  if (!first_) out_ += ',';
  new_line();
  first_ = false;
}

void JsonWriter::new_line() {
  if (indent_ == 0) return;
  out_ += '\n';
  out_.append(std::size_t{indent_} * depth_, ' ');
}

void JsonWriter::quote(std::string_view value) {
  if (!std::all_of(value.begin(), value.end(), is_plain)) {
    out_ += Json(std::string{value}).dump(-1, ' ', false, Json::error_handler_t::replace);
    return;
  }
  out_ += '"';
  out_ += value;
  out_ += '"';
}

}  // namespace shunt
