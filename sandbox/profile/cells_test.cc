#include "sandbox/profile/cells.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

namespace shunt::sandbox {
namespace {

bool holds(const CellTest& test, std::uint64_t arg) {
  switch (test.op) {
    case CellOp::kEqual:
      return arg == test.value;
    case CellOp::kLess:
      return arg < test.value;
    case CellOp::kGreater:
      return arg > test.value;
    case CellOp::kMaskedEqual:
      return (arg & test.value) == test.value_two;
  }
  return false;
}

/// Which cell a call lies in; checks that it is exactly one.
bool trapped(const std::vector<Cell>& cells, std::uint64_t one, std::uint64_t two) {
  const std::array<std::uint64_t, 6> args{0, one, two, 0, 0, 0};
  int matches = 0;
  bool verdict = false;
  for (const Cell& cell : cells) {
    bool all = true;
    for (const CellTest& test : cell.tests) all = all && holds(test, args[test.index]);
    if (!all) continue;
    ++matches;
    verdict = cell.trapped;
  }
  CHECK(matches == 1);
  return verdict;
}

TEST_CASE("an unconditional trap is one cell without tests") {
  const auto cells = partition({.name = "connect"});
  REQUIRE(cells.size() == 1);
  CHECK(cells[0].trapped);
  CHECK(cells[0].tests.empty());
}

TEST_CASE("cells are disjoint, complete, and trapped where a set holds") {
  Trap trap{.name = "setsockopt",
            .when = {{{1, 6}}, {{1, 41}}, {{1, 1}, {2, 15}}, {{1, 1}, {2, 39}}, {{1, 1}, {2, 0}}}};
  SUBCASE("numbers taken as they are") {}
  SUBCASE("disguised numbers caught") { trap.catch_disguised = true; }
  const auto cells = partition(trap);
  for (std::uint64_t one = 0; one < 70; ++one)
    for (std::uint64_t two = 0; two < 70; ++two) {
      const bool large = (trap.catch_disguised && (one > 41 || (one == 1 && two > 39)));
      const bool wanted =
          one == 6 || one == 41 || (one == 1 && (two == 0 || two == 15 || two == 39));
      if (trapped(cells, one, two) != (wanted || large)) FAIL_CHECK(one, " ", two);
    }
  CHECK(trapped(cells, 0x100000006, 0) == trap.catch_disguised);
  CHECK(trapped(cells, 1, 0x10000000f) == trap.catch_disguised);
  CHECK(trapped(cells, ~0ULL, 0) == trap.catch_disguised);
}

TEST_CASE("a set without a test on an argument holds whatever that argument is") {
  const auto cells = partition({.name = "ioctl", .when = {{{2, 5}}, {{1, 3}, {2, 8}}}});
  CHECK(trapped(cells, 0, 5));
  CHECK(trapped(cells, 3, 5));
  CHECK(trapped(cells, 3, 8));
  CHECK_FALSE(trapped(cells, 4, 8));
  CHECK_FALSE(trapped(cells, 3, 6));
}

TEST_CASE("neighbours share a cell") {
  Trap trap{.name = "setsockopt"};
  for (const std::uint32_t value : {7U, 15U, 23U, 31U, 60U, 61U, 62U})
    trap.when.push_back({{1, value}});
  const auto trapped_cells = [](const std::vector<Cell>& cells) {
    return std::count_if(cells.begin(), cells.end(), [](const Cell& c) { return c.trapped; });
  };
  CHECK(trapped_cells(partition(trap)) == 3);  // 7 with 15, 23 and 31; 60 and 61; 62
  trap.catch_disguised = true;
  const auto cells = partition(trap);
  CHECK(trapped_cells(cells) == 2);  // ...; everything above 59
  for (std::uint64_t one = 0; one < 80; ++one)
    CHECK(trapped(cells, one, 0) == (one >= 60 || (one % 8 == 7 && one < 32)));
}

TEST_CASE("too many cells become one") {
  Trap trap{.name = "ioctl"};
  for (std::uint32_t i = 0; i < 200; ++i) trap.when.push_back({{1, i * 1000}});
  const auto cells = partition(trap);
  REQUIRE(cells.size() == 1);
  CHECK(cells[0].trapped);
}

}  // namespace
}  // namespace shunt::sandbox
