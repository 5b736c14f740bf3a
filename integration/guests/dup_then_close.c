// A duplicate keeps the connection alive, and shares its flags.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "one");
  recv_text(fd, "two");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int copy = (int)must("dup", dup(fd));
  set_nonblocking(copy);
  say("the original is non-blocking: %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
  send_text(fd, "one");
  result("close", close(fd));
  send_text(copy, "two");
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  must("getpeername", getpeername(copy, (struct sockaddr*)&peer, &length));
  say("peer %s", show(&at, &peer));
}

GUEST(server, client)
