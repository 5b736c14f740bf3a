// connect to AF_UNSPEC ends the connection and makes the socket fresh; it connects again.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  int fd = accept_one(listener);
  char byte;
  const ssize_t n = recv(fd, &byte, 1, 0);
  say("the first connection ends: %d", n <= 0);
  close(fd);
  fd = accept_one(listener);
  recv_text(fd, "second");
}

static void client(struct where at) {
  const int fd = dial(&at);
  const struct sockaddr none = {.sa_family = AF_UNSPEC};
  result("AF_UNSPEC", connect(fd, &none, sizeof none));
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  result("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  result("send", send(fd, "x", 1, MSG_NOSIGNAL));
  result("connect", connect(fd, sa(&at), at.length));
  send_text(fd, "second");
}

GUEST(server, client)
