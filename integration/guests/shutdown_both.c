// shutdown(SHUT_RDWR): the own end reads end of file and cannot write; the peer sees the end.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "x");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "x");
  result("shutdown", shutdown(fd, SHUT_RDWR));
  recv_end(fd);
  result("send", send(fd, "y", 1, MSG_NOSIGNAL));
}

GUEST(server, client)
