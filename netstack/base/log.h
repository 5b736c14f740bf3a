// Logging for every folder: log::info("netstack", "peer {} is gone", name).
//
// The backend is spdlog, set up once by main (log::open). Lines have the form containerd's shims
// use:
//   time="2024-05-01T10:00:00.000000000Z" level=info msg="..." module=netstack
// Callable from any thread. Never blocks on a full or readerless fifo: such lines are dropped and
// counted.
//
//   error  someone must act            warn   degraded, still serving
//   info   a life event, a handful per container
//   debug  one line per trapped call with its outcome     trace  bytes and completions
#pragma once

#include <fmt/core.h>

#include <optional>
#include <string_view>

namespace shunt::log {

enum class Level { kTrace, kDebug, kInfo, kWarn, kError };

/// "info" -> Level::kInfo; empty for a word that is no level.
std::optional<Level> parse_level(std::string_view word);

/// Sends lines to `fd` (borrowed, must stay open). Before the first call nothing is written.
void open(int fd);
void set_level(Level level);
bool enabled(Level level);
void write(Level level, std::string_view module, std::string_view message);

#define SHUNT_LOG_FUNCTION(name, level)                                                         \
  template <typename... Args>                                                                   \
  void name(std::string_view module, fmt::format_string<Args...> format, Args&&... args) {      \
    if (enabled(level)) write(level, module, fmt::format(format, std::forward<Args>(args)...)); \
  }
SHUNT_LOG_FUNCTION(trace, Level::kTrace)
SHUNT_LOG_FUNCTION(debug, Level::kDebug)
SHUNT_LOG_FUNCTION(info, Level::kInfo)
SHUNT_LOG_FUNCTION(warn, Level::kWarn)
SHUNT_LOG_FUNCTION(error, Level::kError)
#undef SHUNT_LOG_FUNCTION

}  // namespace shunt::log
