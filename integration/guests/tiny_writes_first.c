// Both sides write 20,000 one-byte messages before either reads: TCP has room for that.
#include "guest.h"

enum { kMessages = 20000 };

static void both_ways(int fd) {
  for (uint32_t i = 0; i < kMessages; ++i) {
    const uint8_t byte = (uint8_t)(i * 7);
    send_all(fd, &byte, 1);
  }
  uint32_t right = 0;
  for (uint32_t i = 0; i < kMessages; ++i) {
    uint8_t byte = 0;
    recv_all(fd, &byte, 1);
    right += byte == (uint8_t)(i * 7);
  }
  say("right: %u", right);
  must("shutdown", shutdown(fd, SHUT_WR));
  recv_end(fd);
}

static void nodelay(int fd) {
  const int on = 1;
  must("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  nodelay(fd);
  both_ways(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  nodelay(fd);
  both_ways(fd);
}

GUEST(server, client)
