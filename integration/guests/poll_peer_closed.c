// poll after the peer closed cleanly while we did not: TCP does not say HUP.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  close(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  wait_for(fd, POLLRDHUP);
  say("peer closed: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT | POLLRDHUP)));
  recv_end(fd);
}

GUEST(server, client)
