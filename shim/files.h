// Small file helpers of the shim. Nothing here logs; errors are values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "netstack/base/result.h"

namespace shunt {

/// The whole file, if it is at most `limit` bytes; empty on any error.
std::optional<std::string> read_file(const std::string& path, std::size_t limit);
/// What can be read from `fd` until its end, at most `limit` bytes.
std::string read_descriptor(int fd, std::size_t limit);
bool write_all(int fd, std::string_view bytes);
/// Writes beside and renames, so that a reader sees the old or the new file. Does not follow a link
/// at the final name.
Status write_file_atomically(const std::string& path, std::string_view bytes, unsigned mode);
/// mkdir -p.
Status make_directories(const std::string& path, unsigned mode);
std::optional<long> read_number(const std::string& path);

}  // namespace shunt
