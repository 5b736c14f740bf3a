#include "sandbox/profile/cells.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <optional>
#include <set>

namespace shunt::sandbox {
namespace {

using TestSets = std::vector<std::vector<ArgTest>>;

/// The numbers from `first` to `last`, both included, as aligned power-of-two blocks.
std::vector<CellTest> blocks(unsigned index, std::uint64_t first, std::uint64_t last) {
  std::vector<CellTest> tests;
  while (first <= last) {
    std::uint64_t size = 1;
    while ((first & size) == 0 && first + 2 * size - 1 <= last) size *= 2;
    if (size == 1) {
      tests.push_back({index, CellOp::kEqual, first, 0});
    } else {
      tests.push_back({index, CellOp::kMaskedEqual, ~(size - 1), first});
    }
    first += size;
  }
  return tests;
}

class Partition {
 public:
  explicit Partition(bool catch_disguised) : catch_disguised_{catch_disguised} {}

  /// Splits what `path` selects by the tests that are left; false when it takes too many cells.
  bool split(const TestSets& sets, std::vector<CellTest>& path) {
    if (cells.size() > kMaxCells) return false;
    const bool holds =
        std::any_of(sets.begin(), sets.end(), [](const auto& set) { return set.empty(); });
    if (holds || sets.empty()) {
      cells.push_back({holds, path});
      return true;
    }
    const unsigned index = lowest_index(sets);
    std::set<std::uint32_t> named;
    for (const auto& set : sets)
      for (const ArgTest& test : set)
        if (test.index == index) named.insert(test.value);

    const TestSets elsewhere = given(sets, index, nullptr);
    std::uint64_t next = 0;
    for (const std::uint32_t value : named) {
      if (value > next && !split_gap(index, next, value - 1, elsewhere, path)) return false;
      if (!descend({index, CellOp::kEqual, value, 0}, given(sets, index, &value), path))
        return false;
      next = std::uint64_t{value} + 1;
    }
    const TestSets always = {{}};
    return descend({index, CellOp::kGreater, next - 1, 0}, catch_disguised_ ? always : elsewhere,
                   path);
  }

  std::vector<Cell> cells;

 private:
  static unsigned lowest_index(const TestSets& sets) {
    unsigned lowest = ~0U;
    for (const auto& set : sets)
      for (const ArgTest& test : set) lowest = std::min(lowest, test.index);
    return lowest;
  }

  /// The sets that can still hold once argument `index` is known to be *value, or (null) to be
  /// none of the named ones; without the test just decided.
  static TestSets given(const TestSets& sets, unsigned index, const std::uint32_t* value) {
    TestSets left;
    for (const auto& set : sets) {
      std::vector<ArgTest> rest;
      bool possible = true;
      for (const ArgTest& test : set) {
        if (test.index != index) {
          rest.push_back(test);
        } else if (value == nullptr || test.value != *value) {
          possible = false;
        }
      }
      if (possible) left.push_back(std::move(rest));
    }
    return left;
  }

  bool split_gap(unsigned index, std::uint64_t first, std::uint64_t last, const TestSets& sets,
                 std::vector<CellTest>& path) {
    if (first == 0 && last > 0) return descend({index, CellOp::kLess, last + 1, 0}, sets, path);
    for (const CellTest& block : blocks(index, first, last))
      if (!descend(block, sets, path)) return false;
    return true;
  }

  bool descend(CellTest test, const TestSets& sets, std::vector<CellTest>& path) {
    path.push_back(test);
    const bool fits = split(sets, path);
    path.pop_back();
    return fits;
  }

  bool catch_disguised_;
};

/// `a` and `b` as one test that holds where either does; nothing where there is no such test.
std::optional<CellTest> either(const CellTest& a, const CellTest& b) {
  if (a.index != b.index) return std::nullopt;
  if (a.op == CellOp::kEqual && b.op == CellOp::kGreater && a.value == b.value && a.value > 0)
    return CellTest{b.index, CellOp::kGreater, b.value - 1, 0};
  if (a.op == CellOp::kEqual && b.op == CellOp::kLess && a.value == b.value)
    return CellTest{b.index, CellOp::kLess, b.value + 1, 0};
  const auto masked = [](const CellTest& test) -> std::optional<CellTest> {
    if (test.op == CellOp::kMaskedEqual) return test;
    if (test.op != CellOp::kEqual) return std::nullopt;
    return CellTest{test.index, CellOp::kMaskedEqual, ~0ULL, test.value};
  };
  const auto first = masked(a);
  const auto second = masked(b);
  if (!first || !second || first->value != second->value) return std::nullopt;
  const std::uint64_t difference = first->value_two ^ second->value_two;
  if (!std::has_single_bit(difference)) return std::nullopt;
  return CellTest{a.index, CellOp::kMaskedEqual, first->value & ~difference,
                  first->value_two & ~difference};
}

/// The one cell that covers both, if there is one: cells that differ in a single test.
std::optional<Cell> either(const Cell& a, const Cell& b, bool blocks_too) {
  if (a.trapped != b.trapped || a.tests.size() != b.tests.size()) return std::nullopt;
  std::optional<Cell> merged;
  for (std::size_t i = 0; i < a.tests.size(); ++i) {
    if (a.tests[i] == b.tests[i]) continue;
    if (merged) return std::nullopt;
    const auto test = either(a.tests[i], b.tests[i]);
    if (!test || (test->op == CellOp::kMaskedEqual && !blocks_too)) return std::nullopt;
    merged = a;
    merged->tests[i] = *test;
  }
  return merged;
}

/// Fewer rules that say the same. Each one costs every `runtime exec` about 50 µs, in which it is
/// parsed three times and compiled for each architecture. Ranges grow before blocks form, since a
/// block inside a range would stop it.
void join(std::vector<Cell>& cells) {
  for (const bool blocks_too : {false, true}) {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t i = 0; i < cells.size(); ++i) {
        for (std::size_t j = 0; j < cells.size(); ++j) {
          const auto merged = i == j ? std::nullopt : either(cells[i], cells[j], blocks_too);
          if (!merged) continue;
          cells[i] = *merged;
          cells.erase(cells.begin() + static_cast<std::ptrdiff_t>(j));
          changed = true;
          break;
        }
      }
    }
  }
}

}  // namespace

std::vector<Cell> partition(const Trap& trap) {
  std::vector<Cell> whole = {{.trapped = true, .tests = {}}};
  if (trap.when.empty()) return whole;
  Partition work{trap.catch_disguised};
  std::vector<CellTest> path;
  if (!work.split(trap.when, path)) return whole;
  join(work.cells);
  return std::move(work.cells);
}

}  // namespace shunt::sandbox
