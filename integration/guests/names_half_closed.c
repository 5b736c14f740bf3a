// The peer has finished sending: the connection still has both names.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  must("shutdown", shutdown(fd, SHUT_WR));
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  recv_end(fd);
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  say("own name %s", show(&at, &name));
  must("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
  say("peer %s", show(&at, &name));
}

GUEST(server, client)
