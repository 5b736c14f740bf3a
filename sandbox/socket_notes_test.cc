#include "sandbox/socket_notes.h"

#include <doctest/doctest.h>

using namespace shunt::sandbox;

namespace {
SocketOption option(int name, int value) {
  return {6, name, std::vector<std::byte>(sizeof(int), static_cast<std::byte>(value))};
}
}  // namespace

TEST_CASE("the last value of an option counts, in the order of setting") {
  SocketNotes notes;
  CHECK(notes.get(1)->empty());
  notes.set(1, option(1, 1));
  notes.set(1, option(2, 1));
  notes.set(1, option(1, 0));
  REQUIRE(notes.get(1)->size() == 2);
  CHECK(notes.get(1)->at(0) == option(2, 1));
  CHECK(notes.get(1)->at(1) == option(1, 0));
  notes.forget(1);
  CHECK(notes.get(1)->empty());
}

TEST_CASE("sockets that were told the same share one list") {
  SocketNotes notes;
  notes.set(1, option(1, 1));
  notes.set(2, option(1, 1));
  CHECK(notes.get(1) == notes.get(2));
  notes.put(3, notes.get(1));
  notes.set(3, option(2, 1));
  CHECK(notes.get(1)->size() == 1);
}

TEST_CASE("the oldest note goes when there are too many") {
  SocketNotes notes;
  for (std::uint64_t cookie = 1; cookie <= 65537; ++cookie) notes.set(cookie, option(1, 1));
  CHECK(notes.get(1)->empty());
  CHECK(notes.get(2)->size() == 1);
}

TEST_CASE("a success nobody heard of is told once") {
  UnheardConnects unheard;
  unheard.add(5);
  CHECK(!unheard.take(6));
  CHECK(unheard.take(5));
  CHECK(!unheard.take(5));
}
