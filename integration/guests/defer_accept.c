// TCP_DEFER_ACCEPT: the listener wakes up when data is there, not before.
#include "guest.h"

static void server(struct where at) {
  const int listener = bound_at(&at);
  const int seconds = 5;
  result("TCP_DEFER_ACCEPT",
         setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds));
  must("listen", listen(listener, 4));
  ready(&at, listener);
  const int fd = accept_one(listener);
  char byte;
  result("data is there at once", recv(fd, &byte, 1, MSG_DONTWAIT));
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  usleep(20000);
  send_text(fd, "x");
  await(fd);
}

GUEST(server, client)
