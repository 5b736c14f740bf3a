// The conditions of a trap as rules that never overlap.
//
// libseccomp has no "first match wins": a conditional rule beside an unconditional one of the same
// call is dropped or replaces it, and of two overlapping conditions the outcome depends on how its
// tree happens to be sorted. So where a profile allows a call outright and only some of it is to be
// trapped, both the trapped and the untrapped part are spelled out, disjoint and complete.
#pragma once

#include <cstdint>
#include <vector>

#include "sandbox/profile/trap.h"

namespace shunt::sandbox {

/// How a cell looks at an argument: all 64 bits, as libseccomp compares them.
enum class CellOp { kEqual, kLess, kGreater, kMaskedEqual };

struct CellTest {
  unsigned index = 0;
  CellOp op = CellOp::kEqual;
  std::uint64_t value = 0;      ///< the mask of kMaskedEqual
  std::uint64_t value_two = 0;  ///< what the masked argument must equal

  bool operator==(const CellTest&) const = default;
};

/// One rule: tests on different arguments, all of which hold. No test: every call.
struct Cell {
  bool trapped = false;
  std::vector<CellTest> tests = {};
};

/// More rules than this for one call are not worth their place in a program of at most 4096
/// instructions: partition() then traps the whole call.
inline constexpr std::size_t kMaxCells = 96;

/// Splits all calls of `trap.name` into cells. Every call lies in exactly one of them.
std::vector<Cell> partition(const Trap& trap);

}  // namespace shunt::sandbox
