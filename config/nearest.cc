#include "config/nearest.h"

#include <algorithm>
#include <vector>

#include "config/keys.h"

namespace shunt::config {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the usual table; the one before last is for the swap of two neighbours.
  std::vector<std::size_t> older(b.size() + 1), old(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(older, old);
    std::swap(old, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = old[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({old[j] + 1, row[j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], older[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string_view nearest_key(std::string_view name) {
  constexpr std::size_t kLongest = 64;  // longer than any key: not a slip of the finger
  if (name.size() > kLongest) return {};

  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  const auto consider = [&](std::string_view candidate, std::size_t distance) {
    if (distance >= best_distance) return;
    best = candidate;
    best_distance = distance;
  };
  for (const Key& key : keys()) {
    consider(key.name, edit_distance(name, key.name));
    const std::size_t misplaced = edit_distance(leaf(name), leaf(key.name));
    // One more than the same slip in the right place; and a short word must be exact.
    if (misplaced == 0 || leaf(name).size() > 4) consider(key.name, misplaced + 1);
    if (!section(key.name).empty())
      consider(section(key.name), edit_distance(name, section(key.name)));
  }
  return best;
}

}  // namespace shunt::config
