// What stands for a control connection between two test programs: frames on a stream socket.
#pragma once

#include <sys/socket.h>

#include "netstack/fabric/fabric.h"

namespace shunt::verbs::bench {

enum class Type : std::uint32_t { kHello, kLink, kOffer, kAnswer, kEnd };

struct Frame {
  Type type{};
  std::uint32_t id = 0;  ///< of a stream; of a link's attempt
  std::uint32_t size = 0;
};

inline void send_frame(int fd, Type type, std::uint32_t id, fabric::View bytes) {
  const Frame frame{type, id, static_cast<std::uint32_t>(bytes.size())};
  (void)::send(fd, &frame, sizeof frame, MSG_NOSIGNAL);
  if (!bytes.empty()) (void)::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

inline Status read_all(int fd, void* to, std::size_t size) {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t got = ::recv(fd, at, size, 0);
    if (got <= 0) return Error{got == 0 ? EPIPE : errno, "recv"};
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return Done{};
}

inline Status read_frame(int fd, Frame& frame, fabric::Bytes& bytes) {
  if (const Status got = read_all(fd, &frame, sizeof frame); !got) return got;
  bytes.resize(frame.size);
  return read_all(fd, bytes.data(), bytes.size());
}

}  // namespace shunt::verbs::bench
