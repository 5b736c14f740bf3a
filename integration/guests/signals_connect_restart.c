// A storm of signals with SA_RESTART during connects: every one succeeds, once.
#include "storm.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) right += answer(accept_one(listener), i);
  say("accepted in order: %d", right);
  set_nonblocking(listener);
  result_fd("no connection too many", accept(listener, NULL, NULL));
}

static void client(struct where at) {
  start_storm(SA_RESTART);
  int right = 0;
  for (uint32_t i = 0; i < kRounds; ++i) {
    const int fd = tcp_socket(&at);
    const int rc = connect(fd, sa(&at), at.length);
    if (rc != 0 && errno != EISCONN) must("connect", rc);  // EISCONN: restarted when through
    right += ask(fd, i);
  }
  stop_storm();
  say("connected: %d", right);
}

GUEST(server, client)
