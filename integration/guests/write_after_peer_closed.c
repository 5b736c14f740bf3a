// After the peer closed: the first write succeeds, later ones fail.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  close(fd);
  tell(control);
  recv_end(control);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  await(control);
  wait_for(fd, POLLRDHUP);
  result("first send", send(fd, "x", 1, MSG_NOSIGNAL));
  wait_for(fd, POLLHUP);  // the reset that it provoked
  result("second send", send(fd, "x", 1, MSG_NOSIGNAL));
}

GUEST(server, client)
