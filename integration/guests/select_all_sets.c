// select over a listener, a connection and the exceptional set (urgent data).
#include "guest.h"

static int select_one(int fd, bool in, bool out, bool exceptional) {
  fd_set sets[3];
  for (int i = 0; i < 3; ++i) FD_ZERO(&sets[i]);
  if (in) FD_SET(fd, &sets[0]);
  if (out) FD_SET(fd, &sets[1]);
  if (exceptional) FD_SET(fd, &sets[2]);
  must("select", select(fd + 1, &sets[0], &sets[1], &sets[2], NULL));
  return FD_ISSET(fd, &sets[0]) | FD_ISSET(fd, &sets[1]) << 1 | FD_ISSET(fd, &sets[2]) << 2;
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  say("listener: %d", select_one(listener, true, true, true));
  const int fd = accept_one(listener);
  say("writable: %d", select_one(fd, false, true, false));
  say("readable: %d", select_one(fd, true, false, false));
  recv_text(fd, "x");
  tell(fd);
  say("urgent: %d", select_one(fd, false, false, true) & 4);
  tell(fd);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "x");
  await(fd);
  result("send MSG_OOB", send(fd, "u", 1, MSG_OOB));
  await(fd);
}

GUEST(server, client)
