#include "netstack/verbs/bench/program.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>

namespace shunt::verbs::bench {
namespace {

struct Stream {
  UniqueFd socket;
  std::uint64_t to_write = 0;
  std::uint64_t read = 0;
  std::uint32_t rounds = 0;
  bool over = false;
};

class Program {
 public:
  Program(const Workload& workload, bool writer) : work_{workload}, writer_{writer} {}

  ProgramResult run(std::vector<UniqueFd> sockets) {
    const UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
    streams_.reserve(sockets.size());
    for (UniqueFd& socket : sockets) {
      Stream& stream = streams_.emplace_back();
      stream.socket = std::move(socket);
      epoll_event event{};
      event.events = EPOLLIN | EPOLLOUT | EPOLLET;
      event.data.u64 = streams_.size() - 1;
      if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, stream.socket.get(), &event) != 0)
        return fail("epoll_ctl");
      if (writer_) stream.to_write = work_.echo ? work_.size : work_.bytes;
    }
    std::array<epoll_event, 64> events{};
    while (over_ < streams_.size() && result_.status) {
      const int count = ::epoll_wait(epoll.get(), events.data(), events.size(), 60000);
      if (count <= 0) return fail("epoll_wait");
      for (int i = 0; i < count; ++i)
        handle(streams_[events.at(static_cast<std::size_t>(i)).data.u64]);
    }
    return std::move(result_);
  }

 private:
  ProgramResult fail(const char* where) {
    result_.status = last_error(where);
    return std::move(result_);
  }

  void handle(Stream& stream) {
    if (stream.over) return;
    write(stream);
    for (;;) {
      const ssize_t got = ::recv(stream.socket.get(), buffer_.data(), buffer_.size(), 0);
      if (got < 0 && errno == EAGAIN) return;
      if (got < 0) {
        result_.status = last_error("recv");
        return;
      }
      if (got == 0) return end(stream);
      take(stream, static_cast<std::uint64_t>(got));
    }
  }

  void take(Stream& stream, std::uint64_t got) {
    stream.read += got;
    result_.payload += got;
    if (!work_.echo) return;
    if (!writer_) {
      stream.to_write += got;
      write(stream);
      return;
    }
    while (stream.read >= work_.size) {
      stream.read -= work_.size;
      ++result_.messages;
      if (++stream.rounds < work_.rounds) {
        stream.to_write += work_.size;
      } else {
        ::shutdown(stream.socket.get(), SHUT_WR);
      }
    }
    write(stream);
  }

  void write(Stream& stream) {
    while (stream.to_write > 0) {
      const std::size_t piece = std::min<std::uint64_t>(stream.to_write, buffer_.size());
      const ssize_t sent = ::send(stream.socket.get(), buffer_.data(), piece, MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno != EAGAIN) result_.status = last_error("send");
        return;
      }
      stream.to_write -= static_cast<std::uint64_t>(sent);
      if (stream.to_write == 0 && writer_ && !work_.echo) ::shutdown(stream.socket.get(), SHUT_WR);
    }
  }

  void end(Stream& stream) {
    if (!writer_) {
      result_.messages += work_.echo ? stream.read / work_.size : 0;
      ::shutdown(stream.socket.get(), SHUT_WR);
    }
    stream.over = true;
    ++over_;
  }

  Workload work_;
  bool writer_;
  std::vector<Stream> streams_;
  std::size_t over_ = 0;
  std::array<char, 65536> buffer_{};
  ProgramResult result_;
};

}  // namespace

ProgramResult run_program(const Workload& workload, bool writer, std::vector<UniqueFd> sockets) {
  return Program{workload, writer}.run(std::move(sockets));
}

}  // namespace shunt::verbs::bench
