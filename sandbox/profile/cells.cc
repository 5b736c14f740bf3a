#include "sandbox/profile/cells.h"

#include <algorithm>
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

}  // namespace

std::vector<Cell> partition(const Trap& trap) {
  std::vector<Cell> whole = {{.trapped = true, .tests = {}}};
  if (trap.when.empty()) return whole;
  Partition work{trap.catch_disguised};
  std::vector<CellTest> path;
  if (!work.split(trap.when, path)) return whole;
  return std::move(work.cells);
}

}  // namespace shunt::sandbox
