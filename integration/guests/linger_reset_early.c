// SO_LINGER of zero seconds set before the connect, as health checkers do.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "x");
  recv_end(fd);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  const struct linger linger = {.l_onoff = 1, .l_linger = 0};
  must("SO_LINGER", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
  must("connect", connect(fd, sa(&at), at.length));
  struct linger back = {0};
  socklen_t length = sizeof back;
  must("SO_LINGER", getsockopt(fd, SOL_SOCKET, SO_LINGER, &back, &length));
  say("reads back %d %d", back.l_onoff, back.l_linger);
  send_text(fd, "x");
  result("close", close(fd));
}

GUEST(server, client)
