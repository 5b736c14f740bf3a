// Which open files are still open: the data of all entries of an epoll instance that nobody waits
// on. The kernel removes an entry with the last descriptor of its file.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_set>

namespace shunt::sandbox {

/// Read from /proc/self/fdinfo; nothing if that cannot be read.
std::optional<std::unordered_set<std::uint64_t>> living(int epoll);

}  // namespace shunt::sandbox
