// SO_LINGER of zero seconds: close resets the connection.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "x");
  recv_end(fd);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const struct linger linger = {.l_onoff = 1, .l_linger = 0};
  result("SO_LINGER", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
  send_text(fd, "x");
  result("close", close(fd));
}

GUEST(server, client)
