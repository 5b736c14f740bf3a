// Links of /proc that lead to no path: "socket:[4711]" in a process's fd/, "net:[4026531833]" in
// its ns/. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace shunt {

/// The inode that the link `name` in `directory` tells, if it is of that `kind` ("socket", "net").
/// The link is read, never followed: it may be one to a file whose server does not answer.
std::optional<std::uint64_t> inode_of_link(int directory, const char* name, std::string_view kind);

}  // namespace shunt
