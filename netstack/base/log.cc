#include "netstack/base/log.h"

#include <spdlog/details/null_mutex.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <mutex>

namespace shunt::log {
namespace {

// One write(2) per line, so that lines of several processes on one fifo do not mix (PIPE_BUF), and
// no retry: a log fifo whose reader is away (containerd restarts) must never stop the shim.
class FdSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FdSink(int fd) : fd_{fd} {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (dropped_ > 0)
      fmt::format_to(std::back_inserter(line), "level=warn msg=\"{} log lines were dropped\"\n",
                     dropped_);
    const ssize_t written = ::write(fd_, line.data(), line.size());
    dropped_ = written < 0 ? dropped_ + 1 : 0;
  }
  void flush_() override {}

  int fd_;
  unsigned dropped_ = 0;
};

std::atomic<Level> g_level{Level::kInfo};
std::shared_ptr<spdlog::logger> g_logger;  // set once by open(), before threads start

spdlog::level::level_enum backend_level(Level level) {
  switch (level) {
    case Level::kTrace:
      return spdlog::level::trace;
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace

std::optional<Level> parse_level(std::string_view word) {
  if (word == "trace") return Level::kTrace;
  if (word == "debug") return Level::kDebug;
  if (word == "info") return Level::kInfo;
  if (word == "warn" || word == "warning") return Level::kWarn;
  if (word == "error") return Level::kError;
  return std::nullopt;
}

void open(int fd) {
  g_logger = std::make_shared<spdlog::logger>("shunt", std::make_shared<FdSink>(fd));
  g_logger->set_level(spdlog::level::trace);
  g_logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      "time=\"%Y-%m-%dT%H:%M:%S.%fZ\" level=%l %v", spdlog::pattern_time_type::utc));
}

void set_level(Level level) { g_level.store(level, std::memory_order_relaxed); }

bool enabled(Level level) { return g_logger && level >= g_level.load(std::memory_order_relaxed); }

void write(Level level, std::string_view module, std::string_view message) {
  if (!g_logger) return;
  g_logger->log(backend_level(level), "msg={} module={}", quoted(message), module);
}

}  // namespace shunt::log
