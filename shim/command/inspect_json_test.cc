#include "shim/command/inspect_json.h"

#include <doctest/doctest.h>

using namespace shunt::command;
using Json = nlohmann::ordered_json;

namespace {

const PodNames kNames{{"p1", "default/one"}, {"p2", "a \"b\"/two"}};

Json document() {
  return {{"pod", {{"id", "p1"}, {"peer_pod", "p2"}}},
          {"connections",
           {{{"local", "a"}, {"age_s", 106.25319671630859}, {"peer_pod", "p2"}},
            {{"local", "b"}, {"age_s", nullptr}, {"peer_pod", nullptr}},
            {{"peer_pod", "p3"}, {"more", {{"peer_pod", "p1"}}}},
            {{"peer_pod", "p1"}, {"more", Json::array({1, -2, true, Json::array(), "\n"})}}}},
          {"peer_pod", "p1"},
          {"others", {{{"peer_pod", "p1"}}}},
          {"new in a later version", Json::object()}};
}

std::string in_a_list(const Json& json) {
  const std::string text = Json::array({json}).dump(2);
  return text.substr(4, text.size() - 4 - 2);  // without "[\n  " and "\n]"
}

}  // namespace

TEST_CASE("a document is indented, and its connections' peers are named") {
  Json expected = document();
  CHECK(indented_document(document().dump(), {}) == in_a_list(expected));
  expected["connections"][0]["peer_pod_name"] = "a \"b\"/two";
  expected["connections"][3]["peer_pod_name"] = "default/one";
  CHECK(indented_document(document().dump(), kNames) == in_a_list(expected));
  CHECK(indented_document("{}", kNames) == "{}");
}

TEST_CASE("numbers stay as they are written") {
  const std::string text = R"({"numbers":[2.0,1e-05,0.1,18446744073709551615]})";
  CHECK(indented_document(text, {}) == in_a_list(Json::parse(text)));
}

TEST_CASE("what is no object is no document") {
  for (const char* text : {"", "[]", "[1]", "1", "1.5", "null", "\"text\"", "{", "{}{}", "{\"a\":}",
                           "{\"a\":1", "nonsense"})
    CHECK_MESSAGE(!indented_document(text, kNames), text);
}
