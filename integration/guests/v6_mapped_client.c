// An IPv6 socket connects to ::ffff:a.b.c.d and talks to an IPv4 server.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
  say("length %u, %s", length, show(&at, &peer));
  recv_text(fd, "mapped");
}

static void client(struct where at) {
  struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(at.port)};
  mapped.sin6_addr.s6_addr[10] = mapped.sin6_addr.s6_addr[11] = 0xff;
  memcpy(&mapped.sin6_addr.s6_addr[12], &((struct sockaddr_in*)&at.address)->sin_addr, 4);
  const int fd = (int)must("socket", socket(AF_INET6, SOCK_STREAM, 0));
  result("connect", connect(fd, (struct sockaddr*)&mapped, sizeof mapped));
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  say("own name %s, length %u", show(&at, &name), length);
  length = sizeof name;
  must("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
  say("peer as dialled: %d", memcmp(&name, &mapped, sizeof mapped) == 0);
  send_text(fd, "mapped");
}

GUEST(server, client)
