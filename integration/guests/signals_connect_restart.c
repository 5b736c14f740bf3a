// A storm of signals with SA_RESTART during connects: every one succeeds, once.
#include "guest.h"
#include "storm.h"

enum { kRounds = 200 };

static void server(struct where at) {
  const int listener = listen_at(&at, 64);
  int right = 0;
  for (int i = 0; i < kRounds; ++i) {
    const int fd = accept_one(listener);
    uint32_t number = 0;
    recv_all(fd, &number, sizeof number);
    right += number == (uint32_t)i;
    send_all(fd, &number, sizeof number);
    close(fd);
  }
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
    uint32_t number = i;
    send_all(fd, &number, sizeof number);
    recv_all(fd, &number, sizeof number);
    right += number == i;
    close(fd);
  }
  stop_storm();
  say("connected: %d", right);
}

GUEST(server, client)
