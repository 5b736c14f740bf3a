// A server on [::] takes an IPv4 client, whose address it sees mapped into IPv6.
#include "guest.h"

static void server(struct where at) {
  struct where any = {.length = sizeof(struct sockaddr_in6)};
  any.address.ss_family = AF_INET6;
  set_port(&any, at.port);
  const int listener = listen_at(&any, 16);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
  say("length %u, %s", length, show(&any, &peer));
  must("getsockname", getsockname(fd, (struct sockaddr*)&peer, &length));
  say("own name %s", show(&any, &peer));
  int value = -1;
  length = sizeof value;
  must("SO_DOMAIN", getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &length));
  say("domain %d", value);
  recv_text(fd, "from IPv4");
}

static void client(struct where at) {
  const int fd = dial(&at);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  must("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  say("peer %s", show(&at, &peer));
  send_text(fd, "from IPv4");
}

GUEST(server, client)
