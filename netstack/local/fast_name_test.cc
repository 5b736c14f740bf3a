#include "netstack/local/fast_name.h"

#include <doctest/doctest.h>

using namespace shunt;
using namespace shunt::local;

namespace {
FastName example() {
  FastName name;
  name.client_netns = 4026532201;
  name.client = *parse_endpoint("198.18.0.2:40000");
  name.server = name.service = *parse_endpoint("198.18.0.3:80");
  return name;
}
}  // namespace

TEST_CASE("a fast name reads as the connection it stands for") {
  FastName name = example();
  CHECK(encode(name) == "shunt:4026532201:44:198.18.0.2:40000>198.18.0.3:80");
  name.server_family = AF_INET6;
  name.service = *parse_endpoint("198.18.9.9:8080");
  CHECK(encode(name) == "shunt:4026532201:46:198.18.0.2:40000>198.18.0.3:80=198.18.9.9:8080");
  CHECK(client_netns_of(*encode(name)) == name.client_netns);
  CHECK(decode(*encode(name)) == name);
}

TEST_CASE("living connections with the same addresses are told apart by a number") {
  FastName name = example();
  name.twin = 3;
  CHECK(encode(name) == "shunt:4026532201:44:198.18.0.2:40000>198.18.0.3:80~3");
  CHECK(decode(*encode(name)) == name);
  name.service = *parse_endpoint("198.18.9.9:8080");
  CHECK(decode(*encode(name)) == name);
  const std::string text = *encode(example());
  for (const char* tail : {"~", "~0", "~01", "~1x", "~~1", "~-1", "~99999999999"})
    CHECK_MESSAGE(!decode(text + tail), tail);
}

TEST_CASE("a name that would not fit is refused, not cut") {
  FastName name = example();
  name.client = *parse_endpoint("[fd00:1111:2222:3333:4444:5555:6666:7777]:40000");
  name.server = name.service = *parse_endpoint("[fd00:1111:2222:3333:4444:5555:6666:8888]:80");
  CHECK(!encode(name));
  name.client = *parse_endpoint("[fd00:10:244::2]:40000");
  name.server = name.service = *parse_endpoint("[fd00:10:244::3]:80");
  CHECK(decode(*encode(name)) == name);
}

TEST_CASE("what is no fast name is refused") {
  for (const char* text :
       {"", "shunt", "shunt:", "shunt:1:44", "shunt:1:44:", "shunt:1:45:1.1.1.1:1>1.1.1.1:2",
        "shunt:1:44:1.1.1.1:1", "shunt:1:44:1.1.1.1:1>1.1.1.1:2=", "shunt:x:44:1.1.1.1:1>1.1.1.1:2",
        "shunt:1:44:1.1.1.1:1>1.1.1.1:2=1.1.1.1:2", "shunt:1:44:1.1.1.1:1>1.1.1.1:99999"})
    CHECK_MESSAGE(!decode(text), text);
}

TEST_CASE("a mailbox is named by namespace, family and port") {
  const std::string text = mailbox_name(7, 80, AF_INET6);
  CHECK(text == "shunt!7:6:80");
  CHECK(decode_mailbox(text)->family == AF_INET6);
  CHECK(!decode_mailbox("shunt!7:6:80 "));
  CHECK(abstract_name(abstract_address(text)) == text);
  CHECK(abstract_name(to_sockaddr(example().client, AF_INET)).empty());
}
