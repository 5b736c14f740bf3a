#include "shim/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "netstack/base/unique_fd.h"

namespace shunt {

std::string read_descriptor(int fd, std::size_t limit) {
  std::string bytes;
  std::array<char, 16 * 1024> chunk;  // NOLINT: filled by read
  while (bytes.size() < limit) {
    const ssize_t n = ::read(fd, chunk.data(), std::min(chunk.size(), limit - bytes.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    bytes.append(chunk.data(), static_cast<std::size_t>(n));
  }
  return bytes;
}

std::optional<std::string> read_file(const std::string& path, std::size_t limit) {
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd.valid()) return std::nullopt;
  std::string bytes = read_descriptor(fd.get(), limit + 1);
  if (bytes.size() > limit) return std::nullopt;
  return bytes;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

Status write_file_atomically(const std::string& path, std::string_view bytes, unsigned mode) {
  const std::string beside = path + "." + std::to_string(::getpid()) + ".tmp";
  ::unlink(beside.c_str());
  const UniqueFd fd{
      ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)};
  if (!fd.valid()) return last_error("open");
  if (!write_all(fd.get(), bytes)) return last_error("write");
  if (::rename(beside.c_str(), path.c_str()) < 0) return last_error("rename");
  return Done{};
}

Status make_directories(const std::string& path, unsigned mode) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), mode) < 0 && errno != EEXIST) return last_error("mkdir");
    if (slash == std::string::npos) return Done{};
  }
}

std::optional<long> read_number(const std::string& path) {
  const auto text = read_file(path, 64);
  if (!text) return std::nullopt;
  long value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

}  // namespace shunt
