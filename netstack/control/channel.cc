// A frame may come in pieces and many may come in one read. Between two frames the owner may close
// the channel or change; the shared_ptr held during a callback keeps `this` there until the end.
#include "netstack/control/channel.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "netstack/control/codec.h"

namespace shunt::control {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {
constexpr std::size_t kReadAtOnce = 16UL * 1024;  // then it is the others' turn
constexpr std::size_t kKeepCapacity = 1024;       // a buffer that is empty holds no more
constexpr std::size_t kDrainAtEnd = 256UL * 1024;
constexpr milliseconds kRateWindow{100};
constexpr milliseconds kNoNext{4};

void set_int(int socket, int level, int name, int value) {
  // Refused by no kernel we run on; without them death is noticed later, by PING.
  [[maybe_unused]] const int ignored = ::setsockopt(socket, level, name, &value, sizeof value);
}

void release(Bytes& buffer) {
  if (buffer.capacity() > kKeepCapacity)
    Bytes{}.swap(buffer);
  else
    buffer.clear();
}
}  // namespace

void prepare_socket(int socket) {
  set_int(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_int(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 6000);  // ms; see give_up_after()
  set_int(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_int(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_int(socket, IPPROTO_TCP, TCP_KEEPINTVL, 3);
  set_int(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

Channel::Channel(EventLoop& loop, UniqueFd socket, Owner& owner, Limits limits)
    : loop_{loop}, socket_{std::move(socket)}, owner_{&owner}, limits_{limits} {}

Channel::~Channel() { close(); }

Status Channel::start() {
  interest_ = EPOLLIN;
  const auto watch =
      loop_.watch(socket_.get(), interest_, [this](std::uint32_t events) { on_events(events); });
  if (!watch) return watch.error();
  watch_ = *watch;
  return Done{};
}

void Channel::close() {
  loop_.forget(std::exchange(watch_, 0));
  loop_.forget(std::exchange(pause_, 0));
  loop_.forget(std::exchange(late_, 0));
  socket_.reset();
}

void Channel::on_events(std::uint32_t events) {
  const auto keep = shared_from_this();
  if ((events & EPOLLOUT) != 0 && !flush()) return;
  // An error or hang-up is reported whatever was asked for: only reading takes it away.
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !ending_) read();
}

void Channel::read() {
  std::array<std::byte, kReadAtOnce> buffer;  // NOLINT: written by recv
  const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return end({End::How::kClosed, errno, {}, {}});
  }
  if (got == 0) return end({End::How::kClosed, 0, {}, {}});
  last_heard_ = EventLoop::Clock::now();
  const View came = View{buffer}.first(static_cast<std::size_t>(got));
  std::size_t used = 0;
  if (in_.empty()) {
    if (!take_frames(came, used)) return;
    in_.assign(came.begin() + static_cast<std::ptrdiff_t>(used), came.end());
  } else {
    in_.insert(in_.end(), came.begin(), came.end());
    Bytes all = std::exchange(in_, {});  // the owner may end us while we look at it
    if (!take_frames(all, used)) return;
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(used));
    in_ = std::move(all);
    if (in_.empty()) release(in_);
  }
  if (over_rate()) {
    pause_ = loop_.after(kRateWindow, [this] {
      pause_ = 0;
      update_interest();
    });
    update_interest();
  }
}

bool Channel::take_frames(View bytes, std::size_t& used) {
  Frame whole;
  for (;;) {
    switch (frame(bytes.subspan(used), whole)) {
      case Framing::kMore:
        return true;
      case Framing::kBad:
        end({End::How::kMisbehaved, 0, Reason::kProtocol, "not a frame"});
        return false;
      case Framing::kWhole:
        break;
    }
    used += whole.size;
    ++frames_in_;
    ++rate_count_;
    take(whole.type, whole.payload);
    if (!open() || ending_) return false;
  }
}

void Channel::take(std::uint8_t type, View payload) {
  auto message = decode(type, payload);
  if (!message)
    return end({End::How::kMisbehaved, 0, Reason::kProtocol,
                "malformed message of type " + std::to_string(type)});
  if (const Bye* bye = std::get_if<Bye>(&*message))
    return end({End::How::kBye, 0, bye->reason, bye->why});
  if (std::holds_alternative<Unknown>(*message)) return;
  owner_->on_message(*this, std::move(*message), payload);
}

bool Channel::over_rate() {
  const auto now = EventLoop::Clock::now();
  if (now - rate_since_ >= kRateWindow) {
    rate_since_ = now;
    rate_count_ = 0;
    return false;
  }
  return pause_ == 0 && rate_count_ > limits_.frames_a_second * kRateWindow / seconds{1};
}

void Channel::update_interest() {
  if (!open()) return;
  const std::uint32_t wanted = (pause_ == 0 && !ending_ ? std::uint32_t{EPOLLIN} : 0) |
                               (sent_ < out_.size() ? std::uint32_t{EPOLLOUT} : 0);
  if (wanted == interest_) return;
  interest_ = wanted;
  [[maybe_unused]] const Status ignored = loop_.rearm(watch_, wanted);  // a watch of ours: is there
}

void Channel::send(const Message& message) {
  if (queue(message)) flush_soon();
}

void Channel::send_with_next(const Message& message) {
  if (!queue(message) || late_ != 0) return;
  late_ = loop_.after(kNoNext, [this] {
    late_ = 0;
    flush_soon();
  });
}

bool Channel::queue(const Message& message) {
  if (!open() || ending_) return false;
  const Bytes bytes = encode(message);
  if (out_.size() - sent_ + bytes.size() > limits_.queue) {
    end_soon({End::How::kMisbehaved, 0, Reason::kFlood, "does not read what we send"});
    return false;
  }
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  ++frames_out_;
  return true;
}

// Once a turn of the loop: what is said in one turn leaves in one segment.
void Channel::flush_soon() {
  if (std::exchange(flushing_, true)) return;
  loop_.post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->flushing_ = false;
    if (self->open() && !self->ending_) [[maybe_unused]]
      const bool ignored = self->flush();
  });
}

bool Channel::flush() {
  while (sent_ < out_.size()) {
    const ssize_t n = ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_,
                             MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      end({End::How::kClosed, errno, {}, {}});
      return false;
    }
    sent_ += static_cast<std::size_t>(n);
  }
  if (sent_ == out_.size()) {
    release(out_);
    sent_ = 0;
  } else if (sent_ > out_.size() / 2) {
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(sent_));
    sent_ = 0;
  }
  update_interest();
  return true;
}

void Channel::bye(Reason reason, std::string_view why) {
  if (!open()) return;
  const Bytes bytes = encode(Bye{reason, std::string{why}});
  out_.insert(out_.end(), bytes.begin(), bytes.end());
  [[maybe_unused]] const ssize_t sent =
      ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
  // Closing with unread bytes sends a reset, and that takes the BYE away from its reader.
  std::array<std::byte, 4096> waste;  // NOLINT: written by recv
  for (std::size_t drained = 0; drained < kDrainAtEnd; drained += waste.size())
    if (::recv(socket_.get(), waste.data(), waste.size(), MSG_DONTWAIT) <= 0) break;
  close();
}

void Channel::misbehaved(Reason reason, std::string why) {
  end_soon({End::How::kMisbehaved, 0, reason, std::move(why)});
}

void Channel::give_up_after(milliseconds silence) {
  set_int(socket_.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(silence.count()));
}

void Channel::lost(int error) { end_soon({End::How::kClosed, error, {}, {}}); }

void Channel::end_soon(End how) {
  if (std::exchange(ending_, true)) return;
  update_interest();
  loop_.post([weak = weak_from_this(), how = std::move(how)] {
    if (const auto self = weak.lock(); self && self->open()) self->end(how);
  });
}

void Channel::end(const End& how) {
  ending_ = true;
  if (how.how == End::How::kMisbehaved)
    bye(how.reason, how.why);
  else
    close();
  owner_->on_end(*this, how);
}

}  // namespace shunt::control
