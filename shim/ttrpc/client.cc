#include "shim/ttrpc/client.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "netstack/base/unix_socket.h"
#include "shim/proto/ttrpc.pb.h"
#include "shim/ttrpc/server.h"

namespace shunt::ttrpc {

Client::~Client() { disconnect(); }

Co<Answer<std::string>> Client::call(std::string service, std::string method, std::string payload,
                                     std::chrono::nanoseconds timeout) {
  if (!fd_.valid() && !connect())
    co_return RpcError{Code::kUnavailable, path_ + " does not answer"};
  wire::Request request;
  request.set_service(std::move(service));
  request.set_method(std::move(method));
  request.set_payload(std::move(payload));
  request.set_timeout_nano(timeout.count());
  const std::string bytes = request.SerializeAsString();
  if (bytes.size() > kMaxPayload)
    co_return RpcError{Code::kResourceExhausted, "the request is too large"};

  const std::uint32_t stream = std::exchange(next_stream_, next_stream_ + 2);
  Once<Answer<std::string>> answer;
  pending_.emplace(stream, answer);
  append_frame(out_, stream, FrameType::kRequest, bytes);
  if (!flush()) disconnect();
  const auto timer = loop_.after(timeout, [this, stream] {
    const auto late = pending_.extract(stream);
    if (!late.empty()) late.mapped().set(RpcError{Code::kDeadlineExceeded, "no answer in time"});
  });
  const Answer<std::string> result = co_await answer.wait();
  loop_.forget(timer);
  co_return result;
}

bool Client::connect() {
  auto fd = connect_unix(path_, SOCK_NONBLOCK);
  if (!fd || !peer_is_us(fd->get())) return false;
  const auto token =
      loop_.watch(fd->get(), EPOLLIN, [this](std::uint32_t events) { ready(events); });
  if (!token) return false;
  watch_ = *token;
  fd_ = std::move(*fd);
  reader_ = FrameReader{};
  out_.clear();
  next_stream_ = 1;
  return true;
}

void Client::disconnect() {
  loop_.forget(std::exchange(watch_, 0));
  fd_.reset();
  const auto lost = std::exchange(pending_, {});
  for (const auto& [stream, answer] : lost)
    answer.set(RpcError{Code::kUnavailable, "the connection broke"});
}

void Client::ready(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0 && !flush()) return disconnect();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  std::array<char, 4096> bytes;  // NOLINT: filled by read
  const ssize_t n = ::read(fd_.get(), bytes.data(), bytes.size());
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return disconnect();
  reader_.feed({bytes.data(), static_cast<std::size_t>(n)});
  while (auto frame = reader_.next()) {
    auto call = pending_.extract(frame->stream);
    if (call.empty() || frame->type != FrameType::kResponse) continue;
    wire::Response response;
    if (frame->oversized || !response.ParseFromString(frame->payload)) {
      call.mapped().set(RpcError{Code::kInternal, "the answer is not a ttrpc response"});
    } else if (response.status().code() != 0) {
      call.mapped().set(
          RpcError{static_cast<Code>(response.status().code()), response.status().message()});
    } else {
      call.mapped().set(std::move(*response.mutable_payload()));
    }
    if (!fd_.valid()) return;  // whoever got the answer may have ended us
  }
}

bool Client::flush() {
  while (!out_.empty()) {
    const ssize_t n = ::send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return static_cast<bool>(loop_.rearm(watch_, EPOLLIN | EPOLLOUT));
    if (n < 0) return false;
    out_.erase(0, static_cast<std::size_t>(n));
  }
  return static_cast<bool>(loop_.rearm(watch_, EPOLLIN));
}

}  // namespace shunt::ttrpc
