// MSG_DONTWAIT on a blocking socket.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char byte;
  result("recv of nothing", recv(fd, &byte, 1, MSG_DONTWAIT));
  tell(fd);
  wait_for(fd, POLLIN);
  result("recv", recv(fd, &byte, 1, MSG_DONTWAIT));
  result("recv again", recv(fd, &byte, 1, MSG_DONTWAIT));
  static char block[65536];
  ssize_t n;
  while ((n = send(fd, block, sizeof block, MSG_DONTWAIT)) > 0) {
  }
  result("send when full", n);
  say("still blocking: %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
  send_text(fd, "x");
  static char block[65536];
  ssize_t n;
  while ((n = recv(fd, block, sizeof block, 0)) > 0) {
  }
  result("at the end", n);
}

GUEST(server, client)
