#include "sandbox/profile/receive.h"

#include <sys/socket.h>

#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

namespace shunt::sandbox {
namespace {

constexpr Error kNotAMessage{EPROTO, "seccomp listener message"};
constexpr std::size_t kMaxDescriptors = 16;  // runtimes send one

std::string string_in(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string{};
}

/// A proper prefix of a JSON object is no JSON, so parsing tells; the first test saves most
/// attempts.
bool is_whole(std::string_view text) {
  const std::size_t last = text.find_last_not_of(" \t\r\n");
  return last != std::string_view::npos && text[last] == '}' && nlohmann::json::accept(text);
}

}  // namespace

Result<ProcessState> parse_process_state(std::string_view json) {
  const auto message = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!message.is_object()) return kNotAMessage;
  const auto fds = message.find("fds");
  const auto pid = message.find("pid");
  const auto state = message.find("state");
  if (fds == message.end() || !fds->is_array()) return kNotAMessage;
  if (pid == message.end() || !pid->is_number_unsigned()) return kNotAMessage;
  if (state == message.end() || !state->is_object()) return kNotAMessage;

  ProcessState result;
  const auto number = pid->get<std::uint64_t>();
  if (number == 0 || number > std::uint64_t{std::numeric_limits<pid_t>::max()}) return kNotAMessage;
  result.pid = static_cast<pid_t>(number);
  result.container_id = string_in(*state, "id");
  result.status = string_in(*state, "status");
  result.bundle = string_in(*state, "bundle");
  result.metadata = string_in(message, "metadata");
  result.fd_count = fds->size();
  if (result.container_id.empty()) return kNotAMessage;
  for (std::size_t i = 0; i < fds->size(); ++i) {
    if ((*fds)[i] != "seccompFd") continue;
    result.notify_index = i;
    return result;
  }
  return kNotAMessage;
}

Status ListenerReceiver::take_descriptors(msghdr& message, bool first) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      UniqueFd received{fd};
      if (first) fds_.push_back(std::move(received));  // later ones belong to nothing: closed
    }
  }
  // The kernel cuts the list when the buffer is too small and when our descriptor table is full.
  if ((message.msg_flags & MSG_CTRUNC) != 0) return Error{EMFILE, "recvmsg"};
  return Done{};
}

Result<std::optional<ReceivedListener>> ListenerReceiver::on_readable() {
  std::array<char, 16384> bytes{};
  while (true) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (is_whole(text_)) return finish();
      return std::optional<ReceivedListener>{};
    }
    if (n < 0) return last_error("recvmsg");
    if (Status taken = take_descriptors(message, text_.empty()); !taken) return taken.error();
    if (n == 0) return finish();
    if (text_.size() + static_cast<std::size_t>(n) > kMaxMessage)
      return Error{EMSGSIZE, "seccomp listener message"};
    text_.append(bytes.data(), static_cast<std::size_t>(n));
  }
}

Result<std::optional<ReceivedListener>> ListenerReceiver::finish() {
  Result<ProcessState> state = parse_process_state(text_);
  if (!state) return state.error();
  if (fds_.size() != state->fd_count) return kNotAMessage;
  ReceivedListener listener;
  listener.notify = std::move(fds_[state->notify_index]);
  listener.state = std::move(*state);
  fds_.clear();
  return std::optional<ReceivedListener>{std::move(listener)};
}

}  // namespace shunt::sandbox
