// MSG_WAITALL collects what comes in pieces, and gives less only at the end.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char bytes[10] = {0};
  result("recv 6", recv(fd, bytes, 6, MSG_WAITALL));
  say("got %.6s", bytes);
  result("recv 10 of 3", recv(fd, bytes, 10, MSG_WAITALL));
  result("recv 4 without blocking", recv(fd, bytes, 4, MSG_WAITALL | MSG_DONTWAIT));
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  for (int i = 0; i < 9; ++i) {
    send_all(fd, &"abcdefghi"[i], 1);
    usleep(2000);  // so that the pieces are indeed pieces; the output does not depend on it
  }
}

GUEST(server, client)
