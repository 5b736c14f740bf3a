#include "sandbox/no_offers.h"

#include <doctest/doctest.h>

using namespace shunt;
using namespace shunt::sandbox;
using namespace std::chrono_literals;

TEST_CASE("what a client said of its offers holds for a while") {
  NoOffers said;
  auto now = NoOffers::Clock::now();
  const IpAddress client = *parse_address("198.18.0.2");
  const IpAddress other = *parse_address("198.18.0.3");
  const Endpoint server{*parse_address("198.18.1.2"), 80};
  const Endpoint port{server.address, 81};
  CHECK(!said.holds(client, server, now));
  said.add(client, server, now);
  CHECK(said.holds(client, server, now));
  CHECK(!said.holds(other, server, now));
  CHECK(!said.holds(client, port, now));
  now += 1500ms;
  said.add(client, server, now);
  now += 1500ms;
  CHECK(said.holds(client, server, now));
  said.end_soon(client, port, now);
  CHECK(said.holds(client, server, now));
  said.end_soon(client, server, now);
  said.end_soon(client, server, now + 10ms);  // it is not put off by the next one
  CHECK(said.holds(client, server, now + 19ms));
  CHECK(!said.holds(client, server, now + 20ms));
  said.add(client, server, now);
  CHECK(said.holds(client, server, now + 1s));
  CHECK(!said.holds(client, server, now + 2s));
}

TEST_CASE("one client takes no more than its share of the room") {
  NoOffers said;
  auto now = NoOffers::Clock::now();
  const IpAddress greedy = *parse_address("198.18.0.2");
  const IpAddress other = *parse_address("198.18.0.3");
  const auto server = [](int port) {
    return Endpoint{*parse_address("198.18.1.2"), static_cast<std::uint16_t>(port)};
  };
  for (int port = 1; port <= 1000; ++port) said.add(greedy, server(port), now);
  CHECK(said.holds(greedy, server(64), now));
  CHECK(!said.holds(greedy, server(65), now));
  said.add(other, server(1), now);
  CHECK(said.holds(other, server(1), now));
  now += 3s;
  said.add(greedy, server(65), now);  // in the place of those that are over
  CHECK(said.holds(greedy, server(65), now));
}
