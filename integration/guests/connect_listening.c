// A socket that listens cannot connect, and goes on listening.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  result("connect", connect(listener, sa(&at), at.length));
  const int fd = accept_one(listener);
  recv_text(fd, "hello");
}

static void client(struct where at) { send_text(dial(&at), "hello"); }

GUEST(server, client)
