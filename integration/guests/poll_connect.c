// poll before, during and after a connect; data shows up as readable.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  send_text(fd, "data");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
  say("unconnected: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT)));
  (void)!connect(fd, sa(&at), at.length);
  say("writable: %s", event_names((unsigned)wait_for(fd, POLLOUT) & POLLOUT));
  say("readable: %s", event_names((unsigned)wait_for(fd, POLLIN)));
  recv_text(fd, "data");
  say("drained: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT)));
}

GUEST(server, client)
