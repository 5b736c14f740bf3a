// SO_RCVTIMEO of a listener bounds accept, and is inherited by what it accepts.
#include "guest.h"

static void server(struct where at) {
  const int listener = bound_at(&at);
  const struct timeval time = {.tv_sec = 0, .tv_usec = 40000};
  must("SO_RCVTIMEO", setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
  must("listen", listen(listener, 4));
  result_fd("accept", accept(listener, NULL, NULL));
  ready(&at, listener);
  wait_for(listener, POLLIN);
  const int fd = accept_one(listener);
  struct timeval back = {0};
  socklen_t length = sizeof back;
  must("getsockopt", getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &back, &length));
  say("accepted with %ld us", (long)back.tv_usec);
  char byte;
  result("recv", recv(fd, &byte, 1, 0));
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
}

GUEST(server, client)
