#include "shim/cgroup/fields.h"

#include <filesystem>

#include "shim/files.h"

namespace shunt {

std::string text_of(const std::string& path) { return read_file(path, 1 << 20).value_or(""); }

std::uint64_t number_of(const std::string& path, std::uint64_t for_max) {
  const std::string text = text_of(path);
  return text.starts_with("max") ? for_max : std::strtoull(text.c_str(), nullptr, 10);
}

std::set<std::string> huge_page_sizes(const std::string& folder, std::string_view tail) {
  constexpr std::string_view kHead = "hugetlb.";
  std::set<std::string> sizes;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{folder, ignored}) {
    const std::string name = entry.path().filename();
    // "hugetlb.2MB.rsvd..." counts reservations.
    if (!name.starts_with(kHead) || !name.ends_with(tail) ||
        name.find(".rsvd.") != std::string::npos)
      continue;
    sizes.insert(name.substr(kHead.size(), name.size() - kHead.size() - tail.size()));
  }
  return sizes;
}

}  // namespace shunt
