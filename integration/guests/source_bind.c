// A client bound to an address and port keeps them, and the server sees them.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
  uint16_t port = 0;
  recv_all(fd, &port, sizeof port);
  say("the port the client bound: %d", port == port_of(&peer));
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  struct sockaddr_in own = {.sin_family = AF_INET};
  must("bind", bind(fd, (struct sockaddr*)&own, sizeof own));
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  const uint16_t port = port_of(&name);
  result("connect", connect(fd, sa(&at), at.length));
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  say("kept: %d", port == port_of(&name));
  send_all(fd, &port, sizeof port);
  const int second = tcp_socket(&at);
  result("the port is taken", bind(second, (struct sockaddr*)&name, sizeof(struct sockaddr_in)));
}

GUEST(server, client)
