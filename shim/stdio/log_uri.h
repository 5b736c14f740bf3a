// The names a client gives for stdout: a fifo path, or file:// and binary:// URIs. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shunt {

struct LogUri {
  enum Scheme { kFifo, kFile, kBinary, kUnknown } scheme = kFifo;
  std::string path;                                        ///< percent-decoded
  std::vector<std::pair<std::string, std::string>> query;  ///< percent-decoded, in order
  std::string text;                                        ///< the scheme as written
};

LogUri parse_log_uri(std::string_view name);

}  // namespace shunt
