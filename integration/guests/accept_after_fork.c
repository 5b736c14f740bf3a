// The parent listens, only the child accepts; both may name the listener.
#include "guest.h"

static void accept_child(int listener) {
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(listener, (struct sockaddr*)&own, &length));
  say("child listens on a port: %d", port_of(&own) != 0);
  const int fd = accept_one(listener);
  send_text(fd, "child");
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  reap(in_child(accept_child, listener));
  const int fd = accept_one(listener);
  send_text(fd, "parent");
}

static void client(struct where at) {
  const int one = dial(&at);
  recv_text(one, "child");
  const int two = dial(&at);
  recv_text(two, "parent");
}

GUEST(server, client)
