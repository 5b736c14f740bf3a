// Reads the small text files of a cgroup folder. A file that is not there reads as empty.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace shunt {

std::string text_of(const std::string& path);
/// The file's one number; 0 without one, `for_max` where it says "max" (cgroup v2: no limit).
std::uint64_t number_of(const std::string& path, std::uint64_t for_max = 0);
/// The page sizes ("2MB") that the hugetlb controller counts in `folder`: it has a file for each,
/// named hugetlb.SIZE and `tail`.
std::set<std::string> huge_page_sizes(const std::string& folder, std::string_view tail);

}  // namespace shunt
