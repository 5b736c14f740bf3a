// "Did you mean": the candidate that a mistyped word is closest to.
#pragma once

#include <cstddef>
#include <string_view>

namespace shunt::config {

/// Letters to insert, remove, replace, or swap with their neighbour to get from one to the other.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The dotted name of a key, or of a section, closest to `name`; empty if none is near enough to be
/// a likely meaning. A right last word in the wrong section ("pair" for "upgrade.pair") is near.
std::string_view nearest_key(std::string_view name);

}  // namespace shunt::config
