// SO_LINGER with a time: close waits until the peer has everything, which it gets.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  static char block[65536];
  size_t total = 0;
  ssize_t n;
  while ((n = recv(fd, block, sizeof block, 0)) > 0) total += (size_t)n;
  result("at the end", n);
  say("received %zu", total);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const struct linger linger = {.l_onoff = 1, .l_linger = 10};
  must("SO_LINGER", setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
  static char block[1 << 20];
  send_all(fd, block, sizeof block);
  result("close", close(fd));
}

GUEST(server, client)
