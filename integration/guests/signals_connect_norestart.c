// The same without SA_RESTART: an interrupted connect goes on by itself, as POSIX says.
#include "storm.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) right += answer(accept_one(listener), i);
  say("accepted in order: %d", right);
}

static void connect_through(int fd, const struct where* at) {
  while (connect(fd, sa(at), at->length) != 0) {
    if (errno == EISCONN) return;
    if (errno != EINTR && errno != EALREADY) must("connect", -1);
    if (errno == EALREADY) wait_for(fd, POLLOUT);
  }
}

static void client(struct where at) {
  start_storm(0);
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) {
    const int fd = tcp_socket(&at);
    connect_through(fd, &at);
    right += ask(fd, i);
  }
  stop_storm();
  say("connected: %d", right);
}

GUEST(server, client)
