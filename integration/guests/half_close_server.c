// The server finishes sending at once, and still receives.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  send_text(fd, "greeting");
  result("shutdown", shutdown(fd, SHUT_WR));
  recv_text(fd, "thanks");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  recv_text(fd, "greeting");
  recv_end(fd);
  send_text(fd, "thanks");
  result("shutdown", shutdown(fd, SHUT_WR));
}

GUEST(server, client)
