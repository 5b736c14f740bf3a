#include "shim/stdio/streams.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>

#include "netstack/base/log.h"
#include "shim/files.h"
#include "shim/stdio/log_uri.h"

namespace shunt {

using Problem = Result<Done, std::string>;

ProcessStreams::~ProcessStreams() { close(); }

Result<ProcessStreams::Pipe, std::string> ProcessStreams::make_pipe() const {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0)
    return "cannot make a pipe: " + describe(last_error("pipe2"));
  Pipe pipe{UniqueFd{ends[0]}, UniqueFd{ends[1]}};
  if ((names_.uid != 0 || names_.gid != 0) && ::fchown(pipe.read.get(), names_.uid, names_.gid) < 0)
    return "cannot give a pipe to the container's user: " + describe(last_error("fchown"));
  return pipe;
}

Co<Problem> ProcessStreams::open(StreamNames names, LoggerIdentity identity) {
  names_ = std::move(names);
  const LogUri uri = parse_log_uri(names_.out);
  if (uri.scheme == LogUri::kUnknown) co_return "unknown STDIO scheme " + uri.text;
  if (names_.terminal && uri.scheme == LogUri::kFifo)
    co_return Done{};  // the pty brings everything
  if (!names_.terminal && !names_.in.empty()) {
    auto pipe = make_pipe();
    if (!pipe) co_return pipe.error();
    in_ = std::move(*pipe);
    ::fcntl(in_.write.get(), F_SETFL, O_NONBLOCK);  // ours; the reading end is another open file
  }
  const bool both = uri.scheme != LogUri::kFifo;  // a log URI takes stdout and stderr
  for (auto [wanted, end] :
       {std::pair{both || !names_.out.empty(), &out_}, {both || !names_.err.empty(), &err_}}) {
    if (!wanted) continue;
    auto pipe = make_pipe();
    if (!pipe) co_return pipe.error();
    *end = std::move(*pipe);
  }
  if (uri.scheme == LogUri::kBinary) co_return co_await start_logger(std::move(identity));
  if (uri.scheme == LogUri::kFile) {
    auto sink = open_sink(names_.out);
    if (!sink) co_return sink.error();
    out_sink_ = *sink;
    err_sink_ = *sink;
    co_return Done{};
  }
  if (!names_.out.empty()) {
    auto sink = open_sink(names_.out);
    if (!sink) co_return sink.error();
    out_sink_ = *sink;
  }
  if (!names_.err.empty()) {
    if (names_.err == names_.out) {
      err_sink_ = out_sink_;
    } else {
      auto sink = open_sink(names_.err);
      if (!sink) co_return sink.error();
      err_sink_ = *sink;
    }
  }
  co_return Done{};
}

Result<std::shared_ptr<UniqueFd>, std::string> ProcessStreams::open_sink(
    const std::string& name) const {
  const LogUri uri = parse_log_uri(name);
  int flags = O_WRONLY | O_APPEND | O_CLOEXEC;
  struct stat status {};
  if (uri.scheme == LogUri::kFile) {
    flags |= O_CREAT;
    const auto slash = uri.path.rfind('/');
    if (slash != std::string::npos && slash > 0) {
      if (const Status made = make_directories(uri.path.substr(0, slash), 0755); !made)
        return "cannot make the folder of log file " + uri.path + ": " + describe(made.error());
    }
  } else if (::stat(uri.path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode)) {
    // Reading and writing at once never blocks on a missing reader (fifo(7)) and keeps one, ours,
    // while containerd is away: the process must not get EPIPE from a restart.
    flags = O_RDWR | O_NONBLOCK | O_CLOEXEC;
  }
  auto sink = std::make_shared<UniqueFd>(::open(uri.path.c_str(), flags, 0644));
  if (!sink->valid())
    return "cannot open " + uri.path + " for output: " + describe(last_error("open"));
  return sink;
}

Co<Problem> ProcessStreams::start_logger(LoggerIdentity identity) {
  const LogUri uri = parse_log_uri(names_.out);
  auto ready = make_pipe();
  if (!ready) co_return ready.error();
  ChildSpec child;
  child.argv.push_back(uri.path);
  for (const auto& [key, value] : uri.query) {
    child.argv.push_back(key);
    child.argv.push_back(value);
  }
  child.environment = {"CONTAINER_ID=" + identity.container_id,
                       "CONTAINER_NAMESPACE=" + identity.containerd_namespace};
  child.descriptors = {{out_.read.get(), 3}, {err_.read.get(), 4}, {ready->write.get(), 5}};
  child.dies_with_us = false;  // it should still read what a killed shim's container printed
  const auto pid = start_child(child);
  if (!pid) co_return "cannot start logger " + uri.path + ": " + describe(pid.error());
  logger_ = *pid;
  outputs_open_ = 1;
  reaper_.watch(logger_, [this](ChildExit) {
    logger_ = 0;
    output_ended();
  });
  ready->write.reset();
  // The logger writes a byte, or closes the descriptor, when it is ready.
  ::fcntl(ready->read.get(), F_SETFL, O_NONBLOCK);
  const auto events = co_await loop_.ready(ready->read.get(), EPOLLIN,
                                           EventLoop::Clock::now() + std::chrono::seconds{30});
  if (events == 0) co_return "logger " + uri.path + " did not get ready within 30s";
  if (!names_.terminal) {
    out_.read.reset();
    err_.read.reset();
  }
  co_return Done{};
}

oci::Streams ProcessStreams::child_ends() const {
  if (names_.terminal) return {};
  return {in_.read.get(), out_.write.get(), err_.write.get()};
}

Problem ProcessStreams::started(UniqueFd master) {
  if (names_.terminal) {
    if (!master.valid()) return std::string{"the runtime sent no terminal"};
    ::fcntl(master.get(), F_SETFL, O_NONBLOCK);
    master_ = UniqueFd{::fcntl(master.get(), F_DUPFD_CLOEXEC, 3)};
    UniqueFd reading{::fcntl(master.get(), F_DUPFD_CLOEXEC, 3)};
    if (!names_.in.empty())
      if (auto pumped = pump_input(std::move(master)); !pumped) return pumped;
    std::shared_ptr<UniqueFd> sink;
    if (logger_ != 0) {
      ::fcntl(out_.write.get(), F_SETFL, O_NONBLOCK);
      sink = std::make_shared<UniqueFd>(std::move(out_.write));
      err_ = {};
      out_.read.reset();
    } else if (out_sink_) {
      sink = std::exchange(out_sink_, nullptr);
      err_sink_.reset();
      out_ = {};
      err_ = {};
    } else if (!names_.out.empty()) {
      auto opened = open_sink(names_.out);
      if (!opened) return opened.error();
      sink = *opened;
    } else {
      sink = std::make_shared<UniqueFd>(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    }
    return pump_output(std::move(reading), std::move(sink));
  }
  in_.read.reset();
  out_.write.reset();
  err_.write.reset();
  if (in_.write.valid())
    if (auto pumped = pump_input(std::move(in_.write)); !pumped) return pumped;
  for (auto [pipe, sink] : {std::pair{&out_, &out_sink_}, {&err_, &err_sink_}}) {
    if (!pipe->read.valid()) continue;  // not wanted, or a logger reads it
    ::fcntl(pipe->read.get(), F_SETFL, O_NONBLOCK);
    if (auto pumped = pump_output(std::move(pipe->read), std::exchange(*sink, nullptr)); !pumped)
      return pumped;
  }
  if (outputs_open_ == 0) drained_.set(true);
  return Done{};
}

Problem ProcessStreams::pump_input(UniqueFd to) {
  // The reader first: opening a fifo for writing without blocking needs one.
  UniqueFd source{::open(names_.in.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  if (!source.valid())
    return "cannot open " + names_.in + " for input: " + describe(last_error("open"));
  struct stat status {};
  if (::fstat(source.get(), &status) == 0 && S_ISFIFO(status.st_mode))
    stdin_keeper_ = UniqueFd{::open(names_.in.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
  input_ = std::make_unique<Pump>(loop_, std::move(source),
                                  std::make_shared<UniqueFd>(std::move(to)), [] {});
  return Done{};
}

Problem ProcessStreams::pump_output(UniqueFd from, std::shared_ptr<UniqueFd> to) {
  ++outputs_open_;
  outputs_.push_back(
      std::make_unique<Pump>(loop_, std::move(from), std::move(to), [this] { output_ended(); }));
  return Done{};
}

void ProcessStreams::output_ended() {
  if (outputs_open_ > 0 && --outputs_open_ == 0) drained_.set(true);
}

Status ProcessStreams::resize(unsigned width, unsigned height) {
  if (!master_.valid()) return Done{};
  winsize size{};
  size.ws_col = static_cast<unsigned short>(width);
  size.ws_row = static_cast<unsigned short>(height);
  if (::ioctl(master_.get(), TIOCSWINSZ, &size) < 0) return last_error("ioctl(TIOCSWINSZ)");
  return Done{};
}

Co<void> ProcessStreams::drain(std::chrono::nanoseconds timeout) {
  if (outputs_open_ == 0) co_return;
  const auto timer = loop_.after(timeout, [drained = drained_] { drained.set(false); });
  co_await drained_.wait();
  loop_.forget(timer);
}

void ProcessStreams::close() {
  input_.reset();
  outputs_.clear();
  outputs_open_ = 0;
  stdin_keeper_.reset();
  master_.reset();
  in_ = {};
  out_ = {};
  err_ = {};
  out_sink_.reset();
  err_sink_.reset();
  drained_.set(false);
  if (const pid_t logger = std::exchange(logger_, 0); logger > 0) {
    // It has had its end of file; give it time to write what it holds.
    ::kill(logger, SIGTERM);
    const auto timer = loop_.after(std::chrono::seconds{12}, [logger] { ::kill(logger, SIGKILL); });
    reaper_.watch(logger, [&loop = loop_, timer](ChildExit) { loop.forget(timer); });
  }
}

}  // namespace shunt
