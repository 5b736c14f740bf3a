// Asking for kernel TLS and for an unknown upper protocol.
#include "guest.h"

static void server(struct where at) { recv_end(serve_one(&at)); }

static void client(struct where at) {
  const int fd = dial(&at);
  char name[16] = "x";
  socklen_t length = sizeof name;
  result("TCP_ULP, get", getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &length));
  say("length %u", length);
  result("TCP_ULP nonsense", setsockopt(fd, IPPROTO_TCP, TCP_ULP, "nonsense", 8));
}

GUEST(server, client)
