// The standard streams of one container process, between the files the client named and the
// process.
//
// The client (containerd, ctr, CRI) names fifos, or log URIs for stdout:
//   no name            /dev/null          FIFO path       relayed through a pipe of ours
//   file:///path       appended to        binary:///path  a logger program gets the reading ends
// The process never holds the client's fifo itself: when containerd restarts, it would get EPIPE.
// With a terminal the runtime hands us the pty master (console.h), which is relayed the same way.
#pragma once

#include <memory>
#include <string>

#include "netstack/base/co.h"
#include "shim/oci/runtime.h"
#include "shim/process/reaper.h"
#include "shim/stdio/pump.h"

namespace shunt {

struct StreamNames {
  std::string in, out, err;
  bool terminal = false;
  std::uint32_t uid = 0;  ///< owner of the pipes, for processes that reopen /dev/stdout
  std::uint32_t gid = 0;
};

/// For a logger program: CONTAINER_ID and CONTAINER_NAMESPACE.
struct LoggerIdentity {
  std::string container_id;
  std::string containerd_namespace;
};

class ProcessStreams {
 public:
  ProcessStreams(EventLoop& loop, Reaper& reaper) : loop_{loop}, reaper_{reaper} {}
  ~ProcessStreams();
  ProcessStreams(const ProcessStreams&) = delete;
  ProcessStreams& operator=(const ProcessStreams&) = delete;

  /// Makes the pipes and starts a logger program where one is named. The error is a sentence.
  Co<Result<Done, std::string>> open(StreamNames names, LoggerIdentity identity);
  /// What the runtime gets; valid until started(). With a terminal all are -1.
  oci::Streams child_ends() const;
  /// The process runs: our copies of its ends are closed and bytes begin to move. For a terminal,
  /// `master`.
  Result<Done, std::string> started(UniqueFd master);

  void set_names(StreamNames names) { names_ = std::move(names); }
  void close_stdin() { stdin_keeper_.reset(); }
  Status resize(unsigned width, unsigned height);  ///< without a terminal: nothing to do
  const StreamNames& names() const { return names_; }

  /// Resumes when every byte has been handed on, or after `timeout`.
  Co<void> drain(std::chrono::nanoseconds timeout);
  /// The process is gone for good: stops everything, ends a logger program.
  void close();

 private:
  struct Pipe {
    UniqueFd read, write;
  };
  Result<Pipe, std::string> make_pipe() const;
  Co<Result<Done, std::string>> start_logger(LoggerIdentity identity);
  Result<std::shared_ptr<UniqueFd>, std::string> open_sink(const std::string& name) const;
  Result<Done, std::string> pump_output(UniqueFd from, std::shared_ptr<UniqueFd> to);
  Result<Done, std::string> pump_input(UniqueFd to);
  void output_ended();

  EventLoop& loop_;
  Reaper& reaper_;
  StreamNames names_;
  Pipe in_, out_, err_;
  std::shared_ptr<UniqueFd> out_sink_, err_sink_;
  UniqueFd
      stdin_keeper_;  ///< our writing end of the client's stdin fifo: its detaching is not the end
  UniqueFd stdin_source_;
  UniqueFd master_;
  std::unique_ptr<Pump> input_;
  std::vector<std::unique_ptr<Pump>> outputs_;
  std::size_t outputs_open_ = 0;
  pid_t logger_ = 0;
  Once<bool> drained_;
};

}  // namespace shunt
