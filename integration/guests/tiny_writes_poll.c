// As tiny_writes_first, without blocking: each side waits until it may write.
#include "guest.h"

enum { kMessages = 20000 };

static void both_ways(int fd) {
  const int on = 1;
  must("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  set_nonblocking(fd);
  for (uint32_t i = 0; i < kMessages;) {
    const uint8_t byte = (uint8_t)(i * 7);
    const ssize_t n = send(fd, &byte, 1, 0);
    if (n == 1) {
      ++i;
    } else if (errno != EAGAIN || (wait_for(fd, POLLOUT) & POLLOUT) == 0) {
      must("send", (int)n);
    }
  }
  uint32_t right = 0;
  for (uint32_t i = 0; i < kMessages;) {
    uint8_t byte = 0;
    const ssize_t n = recv(fd, &byte, 1, 0);
    if (n == 1) {
      right += byte == (uint8_t)(i++ * 7);
    } else if (n == 0 || errno != EAGAIN || (wait_for(fd, POLLIN) & POLLIN) == 0) {
      must("recv", n == 0 ? -1 : (int)n);
    }
  }
  say("right: %u", right);
}

static void server(struct where at) { both_ways(serve_one(&at)); }
static void client(struct where at) { both_ways(dial(&at)); }

GUEST(server, client)
