// poll after the peer shut down its writing side: IN and RDHUP, no HUP while we may still write.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  must("shutdown", shutdown(fd, SHUT_WR));
  recv_text(fd, "late");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  wait_for(fd, POLLRDHUP);
  say("peer finished: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT | POLLRDHUP)));
  recv_end(fd);
  send_text(fd, "late");
  must("shutdown", shutdown(fd, SHUT_WR));
  wait_for(fd, POLLHUP);
  say("both finished: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT | POLLRDHUP)));
}

GUEST(server, client)
