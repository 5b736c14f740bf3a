#include "shim/json_writer.h"

#include <doctest/doctest.h>

#include <limits>
#include <nlohmann/json.hpp>

using namespace shunt;
using Json = nlohmann::ordered_json;

namespace {

void write_all_kinds(JsonWriter& json) {
  json.begin_object();
  json.object("nothing in it");
  json.end_object();
  json.array("nor here");
  json.end_array();
  json.array("values");
  json.null();
  json.boolean(true);
  json.number(0);
  json.number(-5);
  json.number(std::numeric_limits<std::uint64_t>::max());
  json.number(std::numeric_limits<std::int64_t>::min());
  json.number(0.25);
  json.number(2097152.0);
  json.number(-106.25319671630859);
  json.begin_array();
  json.begin_object();
  json.string("a", "b");
  json.end_object();
  json.end_array();
  json.end_array();
  json.text("unknown", "");
  json.string("empty", "");
  json.boolean("no", false);
  json.string("quo\"ted\\", "tab\t, line\n, bell\x07, del\x7f, \"quotes\\\", grüße");
  json.end_object();
}

}  // namespace

TEST_CASE("the text is that of the library") {
  for (const unsigned indent : {0U, 2U, 4U}) {
    JsonWriter json{indent};
    write_all_kinds(json);
    const std::string text = json.take();
    CHECK(text == Json::parse(text).dump(indent == 0 ? -1 : static_cast<int>(indent)));
  }
}

TEST_CASE("values come back") {
  JsonWriter json;
  write_all_kinds(json);
  const Json read = Json::parse(json.so_far());
  CHECK(read["values"][4] == std::numeric_limits<std::uint64_t>::max());
  CHECK(read["values"][5] == std::numeric_limits<std::int64_t>::min());
  CHECK(read["values"][8].get<double>() == -106.25319671630859);
  CHECK(read["unknown"].is_null());
  CHECK(read["empty"] == "");
}

TEST_CASE("numbers of any size") {
  for (const double value : {0.0, 1e5, 1e300, 1e-300, 123456789012345678.0, 5e-324}) {
    JsonWriter json;
    json.number(value);
    CHECK(Json::parse(json.so_far()).get<double>() == value);
    CHECK(Json::parse(json.so_far()).is_number_float());
  }
}

TEST_CASE("bytes that are no UTF-8") {
  JsonWriter json;
  json.string(
      "a\xff"
      "b");
  CHECK(Json::parse(json.take()) ==
        "a\xef\xbf\xbd"
        "b");
}
