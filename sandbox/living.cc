#include "sandbox/living.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string>
#include <string_view>

#include "netstack/base/unique_fd.h"

namespace shunt::sandbox {

std::optional<std::unordered_set<std::uint64_t>> living(int epoll) {
  const std::string path = "/proc/self/fdinfo/" + std::to_string(epoll);
  std::string text;
  const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return std::nullopt;
  std::array<char, 4096> part;
  ssize_t got = 0;
  while ((got = ::read(file.get(), part.data(), part.size())) > 0)
    text.append(part.data(), static_cast<std::size_t>(got));
  if (got < 0) return std::nullopt;

  std::unordered_set<std::uint64_t> result;
  constexpr std::string_view kData = " data:";
  for (std::size_t at = text.find(kData); at != std::string::npos; at = text.find(kData, at + 1)) {
    const char* first = text.data() + at + kData.size();
    while (*first == ' ') ++first;
    std::uint64_t data = 0;
    std::from_chars(first, text.data() + text.size(), data, 16);
    result.insert(data);
  }
  return result;
}

}  // namespace shunt::sandbox
