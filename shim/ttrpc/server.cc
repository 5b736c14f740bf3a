#include "shim/ttrpc/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "netstack/base/log.h"
#include "shim/proto/ttrpc.pb.h"
#include "shim/ttrpc/frame.h"

namespace shunt::ttrpc {

namespace {
constexpr std::size_t kMaxQueued = 32U
                                   << 20;   // answers a client does not fetch; then it is cut off
constexpr std::size_t kMaxPending = 16384;  // calls in flight on one connection
}  // namespace

bool peer_is_us(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return false;
  return peer.uid == ::geteuid() && peer.gid == ::getegid();
}

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Server& server, UniqueFd fd) : server_{server}, fd_{std::move(fd)} {}
  ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool start() {
    const auto token =
        server_.loop_.watch(fd_.get(), EPOLLIN, [this](std::uint32_t events) { ready(events); });
    if (!token) return false;
    watch_ = *token;
    return true;
  }

  void answer(std::uint32_t stream, const Answer<std::string>& answer) {
    const auto call = pending_.find(stream);
    if (call == pending_.end()) return;  // its timeout has passed
    server_.loop_.forget(call->second);
    pending_.erase(call);
    send(stream, answer);
  }

  bool waits_for(std::uint32_t stream) const { return pending_.contains(stream); }
  bool flushed() const { return out_.size() == sent_; }

  void close() {
    server_.loop_.forget(watch_);
    for (const auto& [stream, timer] : pending_) server_.loop_.forget(timer);
    pending_.clear();
  }

 private:
  void ready(std::uint32_t events) {
    const auto keep = shared_from_this();
    if ((events & EPOLLOUT) != 0 && !flush()) return server_.drop(this);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !receive()) server_.drop(this);
  }

  bool receive() {
    std::array<char, 16 * 1024> bytes;  // NOLINT: filled by read
    const ssize_t n = ::read(fd_.get(), bytes.data(), bytes.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    reader_.feed({bytes.data(), static_cast<std::size_t>(n)});
    while (auto frame = reader_.next()) {
      if (frame->type == FrameType::kRequest) request(*frame);
      if (out_.size() - sent_ > kMaxQueued) return false;
    }
    return true;
  }

  void request(const Frame& frame) {
    const std::uint32_t stream = frame.stream;
    const auto refuse = [&](Code code, const char* why) { send(stream, RpcError{code, why}); };
    if (frame.oversized)
      return refuse(Code::kResourceExhausted, "message exceeds the maximum of 4194304 bytes");
    if (stream % 2 == 0)
      return refuse(Code::kInvalidArgument, "StreamID must be odd for client initiated streams");
    if (stream <= last_stream_)
      return refuse(Code::kInvalidArgument, "StreamID must be larger than those before it");
    last_stream_ = stream;
    if ((frame.flags & (kFlagRemoteClosed | kFlagRemoteOpen)) != 0)
      return refuse(Code::kUnimplemented, "streaming is not supported");
    wire::Request request;
    if (!request.ParseFromString(frame.payload))
      return refuse(Code::kInvalidArgument, "unmarshal request error: not a ttrpc request");
    if (pending_.size() >= kMaxPending)
      return refuse(Code::kResourceExhausted, "too many calls in flight on this connection");
    EventLoop::Token timer = 0;
    if (request.timeout_nano() > 0) {
      timer = server_.loop_.after(std::chrono::nanoseconds{request.timeout_nano()}, [this, stream] {
        answer(stream, RpcError{Code::kDeadlineExceeded, "context deadline exceeded"});
      });
    }
    pending_.emplace(stream, timer);
    server_.handler_(
        Call{std::move(*request.mutable_service()), std::move(*request.mutable_method()),
             std::move(*request.mutable_payload())},
        Responder{weak_from_this(), stream});
  }

  void send(std::uint32_t stream, const Answer<std::string>& answer) {
    wire::Response response;
    if (answer) {
      response.set_payload(*answer);
    } else {
      response.mutable_status()->set_code(static_cast<int>(answer.error().code));
      response.mutable_status()->set_message(answer.error().message);
    }
    std::string bytes = response.SerializeAsString();
    if (bytes.size() > kMaxPayload) {
      return send(stream, RpcError{Code::kResourceExhausted,
                                   "the answer exceeds the maximum of 4194304 bytes"});
    }
    append_frame(out_, stream, FrameType::kResponse, bytes);
    if (!flush())
      server_.loop_.post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->server_.drop(self.get());
      });
  }

  bool flush() {
    while (sent_ < out_.size()) {
      const ssize_t n = ::send(fd_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) return false;
      if (n < 0) return want(EPOLLIN | EPOLLOUT);
      sent_ += static_cast<std::size_t>(n);
    }
    out_.clear();
    if (out_.capacity() > kMostKept) out_.shrink_to_fit();
    sent_ = 0;
    return want(EPOLLIN);
  }

  bool want(std::uint32_t events) {
    if (events == wanted_) return true;
    wanted_ = events;
    return static_cast<bool>(server_.loop_.rearm(watch_, events));
  }

  Server& server_;
  UniqueFd fd_;
  EventLoop::Token watch_ = 0;
  std::uint32_t wanted_ = EPOLLIN;
  FrameReader reader_;
  std::string out_;
  std::size_t sent_ = 0;
  std::uint32_t last_stream_ = 0;
  std::unordered_map<std::uint32_t, EventLoop::Token> pending_;  ///< stream -> its timeout, 0: none
};

Responder::~Responder() {
  if (stream_ != 0) (*this)(RpcError{Code::kInternal, "the call was dropped without an answer"});
}

void Responder::operator()(const Answer<std::string>& answer) {
  const std::uint32_t stream = std::exchange(stream_, 0);
  if (const auto connection = connection_.lock(); connection && stream != 0)
    connection->answer(stream, answer);
}

bool Responder::wanted() const {
  const auto connection = connection_.lock();
  return connection && connection->waits_for(stream_);
}

Server::Server(EventLoop& loop, UniqueFd listener, Handler handler)
    : loop_{loop}, listener_{std::move(listener)}, handler_{std::move(handler)} {
  const auto token =
      loop_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_ready(); });
  if (token) watch_ = *token;
}

Server::~Server() {
  loop_.forget(watch_);
  loop_.forget(retry_);
}

bool Server::flushed() const {
  for (const auto& [key, connection] : connections_)
    if (!connection->flushed()) return false;
  return true;
}

void Server::accept_ready() {
  while (true) {
    UniqueFd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return;
      // Out of descriptors or memory: the listener stays readable, so look away for a moment.
      log::error("ttrpc", "{}", describe(last_error("accept")));
      static_cast<void>(loop_.rearm(watch_, 0));
      retry_ = loop_.after(std::chrono::milliseconds{100},
                           [this] { static_cast<void>(loop_.rearm(watch_, EPOLLIN)); });
      return;
    }
    if (!peer_is_us(fd.get())) {
      log::warn("ttrpc", "refused a connection from another user");
      continue;
    }
    auto connection = std::make_shared<Connection>(*this, std::move(fd));
    if (connection->start()) connections_.emplace(connection.get(), connection);
  }
}

void Server::drop(Connection* connection) {
  const auto it = connections_.find(connection);
  if (it == connections_.end()) return;
  const auto keep = it->second;
  connections_.erase(it);
  keep->close();
}

}  // namespace shunt::ttrpc
