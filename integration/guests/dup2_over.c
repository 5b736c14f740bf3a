// dup2 of a connection over another one closes that; dup3 and F_DUPFD set close-on-exec.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int one = accept_one(listener);
  const int two = accept_one(listener);
  recv_end(two);
  recv_text(one, "one");
  recv_end(one);
}

static void client(struct where at) {
  const int one = dial(&at);
  const int two = dial(&at);
  say("dup2: %d", dup2(one, two) == two);
  say("dup2 onto itself: %d", dup2(two, two) == two);
  result("dup3 onto itself", dup3(two, two, 0));
  const int three = (int)must("dup3", dup3(two, two + 1, O_CLOEXEC));
  say("FD_CLOEXEC %d", fcntl(three, F_GETFD));
  const int four = (int)must("F_DUPFD_CLOEXEC", fcntl(three, F_DUPFD_CLOEXEC, 100));
  say("from 100 on: %d, FD_CLOEXEC %d", four >= 100, fcntl(four, F_GETFD));
  close(one);
  close(two);
  close(three);
  send_text(four, "one");
}

GUEST(server, client)
