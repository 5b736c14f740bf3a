#include "shim/json_writer.h"

#include <doctest/doctest.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

using namespace shunt;
using Json = nlohmann::ordered_json;

namespace {

const std::array<int, 2> kTwo{1, -2};

void write_all_kinds(JsonWriter& json) {
  json.begin_object();
  json.object("nothing in it", [] {});
  json.array("nor here", std::array<int, 0>{}, [](int) {});
  json.array("numbers", kTwo, [&](int number) { json.number(number); });
  json.objects("objects", kTwo, [&](int number) {
    json.string("a", "b");
    json.objects("inside", kTwo, [&](int other) { json.number("is", number * other); });
  });
  json.text("unknown", "");
  json.text("known", "x");
  json.string("empty", "");
  json.boolean("no", false);
  json.boolean("yes", true);
  json.number("largest", std::numeric_limits<std::uint64_t>::max());
  json.number("least", std::numeric_limits<std::int64_t>::min());
  json.number("real", 0.25);
  json.number("whole", 2097152.0);
  json.number("some", std::optional{-106.25319671630859});
  json.number("none", std::optional<int>{});
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
  const Json read = Json::parse(json.take());
  CHECK(read["numbers"] == Json{1, -2});
  CHECK(read["objects"][1] == Json::parse(R"({"a": "b", "inside": [{"is": -2}, {"is": 4}]})"));
  CHECK(read["largest"] == std::numeric_limits<std::uint64_t>::max());
  CHECK(read["least"] == std::numeric_limits<std::int64_t>::min());
  CHECK(read["some"].get<double>() == -106.25319671630859);
  CHECK(read["none"].is_null());
  CHECK(read["unknown"].is_null());
  CHECK(read["empty"] == "");
}

TEST_CASE("numbers of any size") {
  for (const double value : {0.0, 1e5, 1e300, 1e-300, 123456789012345678.0, 5e-324}) {
    JsonWriter json;
    json.number(value);
    const Json read = Json::parse(json.take());
    CHECK(read.get<double>() == value);
    CHECK(read.is_number_float());
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
