// One side writes 20,000 one-byte messages and then says so elsewhere; only then the other one reads.
// Once for each direction.
#include "guest.h"

enum { kMessages = 20000 };

static void fill(int fd, int control) {
  const int on = 1;
  must("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  for (uint32_t i = 0; i < kMessages; ++i) {
    const uint8_t byte = (uint8_t)(i * 7);
    send_all(fd, &byte, 1);
  }
  tell(control);
}

static void drain(int fd, int control) {
  await(control);
  uint32_t right = 0;
  for (uint32_t i = 0; i < kMessages; ++i) {
    uint8_t byte = 0;
    recv_all(fd, &byte, 1);
    right += byte == (uint8_t)(i * 7);
  }
  say("right: %u", right);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  fill(fd, control);
  drain(fd, control);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  drain(fd, control);
  fill(fd, control);
  recv_end(fd);
}

GUEST(server, client)
