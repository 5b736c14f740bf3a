// A thousand connections one after the other.
#include "guest.h"

enum { kCount = 1000 };

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  int right = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    const int fd = accept_one(listener);
    uint32_t number = 0;
    recv_all(fd, &number, sizeof number);
    right += number == i;
    number = ~number;
    send_all(fd, &number, sizeof number);
    close(fd);
  }
  say("right: %d", right);
}

static void client(struct where at) {
  int right = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    const int fd = dial(&at);
    uint32_t number = i;
    send_all(fd, &number, sizeof number);
    recv_all(fd, &number, sizeof number);
    right += number == ~i;
    close(fd);
  }
  say("right: %d", right);
}

GUEST(server, client)
