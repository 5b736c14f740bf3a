#include "netstack/base/proc_link.h"

#include <unistd.h>

#include <array>
#include <charconv>

namespace shunt {

std::optional<std::uint64_t> inode_of_link(int directory, const char* name, std::string_view kind) {
  std::array<char, 64> text;  // NOLINT: filled by readlinkat
  const ssize_t size = ::readlinkat(directory, name, text.data(), text.size());
  if (size <= 0) return std::nullopt;
  std::string_view rest{text.data(), static_cast<std::size_t>(size)};
  if (!rest.starts_with(kind)) return std::nullopt;
  rest.remove_prefix(kind.size());
  if (!rest.starts_with(":[")) return std::nullopt;
  std::uint64_t inode = 0;
  const char* const last = rest.data() + rest.size();
  const auto [end, error] = std::from_chars(rest.data() + 2, last, inode);
  if (error != std::errc{} || std::string_view{end, last} != "]") return std::nullopt;
  return inode;
}

}  // namespace shunt
