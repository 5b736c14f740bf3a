// Names of a connection whose peer is gone.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("shutdown", shutdown(fd, SHUT_WR));
  recv_end(fd);
  wait_for(fd, POLLHUP);
  result("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  say("own name %s", show(&at, &name));
  result("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
}

GUEST(server, client)
