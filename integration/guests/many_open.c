// Two hundred connections open at the same time, told apart by what they carry.
#include "guest.h"

enum { kCount = 200 };
static int fds[kCount];

static void server(struct where at) {
  const int listener = listen_at(&at, kCount);
  for (uint32_t i = 0; i < kCount; ++i) fds[i] = accept_one(listener);
  for (uint32_t i = 0; i < kCount; ++i) {
    uint32_t number = 0;
    recv_all(fds[i], &number, sizeof number);
    send_all(fds[kCount - 1 - i], &i, sizeof i);
    if (number != i) say("connection %u carries %u", i, number);
  }
  say("all read");
  recv_end(fds[0]);
}

static void client(struct where at) {
  for (uint32_t i = 0; i < kCount; ++i) fds[i] = dial(&at);
  for (uint32_t i = 0; i < kCount; ++i) send_all(fds[i], &i, sizeof i);
  int right = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    uint32_t number = 0;
    recv_all(fds[i], &number, sizeof number);
    right += number == kCount - 1 - i;
  }
  say("right: %d", right);
}

GUEST(server, client)
