#include "config/nearest.h"

#include <doctest/doctest.h>

#include <string>

using namespace shunt::config;

TEST_CASE("edit distance counts single slips") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("pair", "pair") == 0);
  CHECK(edit_distance("pair", "") == 4);
  CHECK(edit_distance("pair", "piar") == 1);  // two neighbours swapped
  CHECK(edit_distance("pair", "par") == 1);
  CHECK(edit_distance("pair", "pairs") == 1);
  CHECK(edit_distance("kitten", "sitting") == 3);
}

TEST_CASE("a slip finds its key") {
  CHECK(nearest_key("upgrade.piar") == "upgrade.pair");
  CHECK(nearest_key("runtim") == "runtime");
  CHECK(nearest_key("stat") == "state");
  CHECK(nearest_key("log.levels") == "log.level");
  CHECK(nearest_key("loglevel") == "log.level");
  CHECK(nearest_key("runtime.no-pivot-root") == "runtime.no_pivot_root");
  CHECK(nearest_key("upgrade.iouring") == "upgrade.io_uring");
}

TEST_CASE("a key in the wrong section finds the right one") {
  CHECK(nearest_key("pair") == "upgrade.pair");
  CHECK(nearest_key("drain_timeout") == "stdio.drain_timeout");
  CHECK(nearest_key("runtime.drain_timeout") == "stdio.drain_timeout");
  CHECK(nearest_key("runtime.send_bufer") == "upgrade.send_buffer");
}

TEST_CASE("what resembles nothing finds nothing") {
  CHECK(nearest_key("colour").empty());
  CHECK(nearest_key("x").empty());
  CHECK(nearest_key("").empty());
  CHECK(nearest_key(std::string(100'000, 'a')).empty());
}
