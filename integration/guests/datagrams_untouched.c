// UDP over the same addresses, connected and not.
#include "guest.h"

static void server(struct where at) {
  const int control = serve_one(&at);
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_DGRAM, 0));
  must("bind", bind(fd, sa(&at), at.length));
  tell(control);
  char bytes[16] = {0};
  struct sockaddr_storage from;
  socklen_t length = sizeof from;
  result("recvfrom", recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr*)&from, &length));
  say("\"%s\" from %s", bytes, show(&at, &from));
  result("sendto", sendto(fd, "pong", 4, 0, (struct sockaddr*)&from, length));
  recv_end(control);
}

static void client(struct where at) {
  const int control = dial(&at);
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_DGRAM, 0));
  await(control);
  result("connect", connect(fd, sa(&at), at.length));
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  must("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  say("peer %s", show(&at, &peer));
  must("send", send(fd, "ping", 4, 0));
  char bytes[16] = {0};
  result("recv", recv(fd, bytes, sizeof bytes, 0));
  say("\"%s\"", bytes);
  const struct sockaddr none = {.sa_family = AF_UNSPEC};
  result("AF_UNSPEC", connect(fd, &none, sizeof none));
}

GUEST(server, client)
