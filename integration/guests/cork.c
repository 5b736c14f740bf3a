// TCP_CORK and MSG_MORE hold data back until it is pulled.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "headbody");
  recv_text(fd, "moredone");
}

static void client(struct where at) {
  const int fd = dial(&at);
  int value = 1;
  must("TCP_CORK", setsockopt(fd, IPPROTO_TCP, TCP_CORK, &value, sizeof value));
  send_text(fd, "head");
  send_text(fd, "body");
  value = 0;
  result("uncork", setsockopt(fd, IPPROTO_TCP, TCP_CORK, &value, sizeof value));
  result("MSG_MORE", send(fd, "more", 4, MSG_MORE));
  result("done", send(fd, "done", 4, 0));
}

GUEST(server, client)
