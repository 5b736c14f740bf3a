// Ports that the kernel chooses: by bind, by listen without bind, by connect.
#include "guest.h"

static void name_it(const struct where* at, int fd, const char* what) {
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(fd, (struct sockaddr*)&own, &length));
  say("%s: %s", what, show(at, &own));
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  int fd = tcp_socket(&at);
  name_it(&at, fd, "fresh");
  must("listen", listen(fd, 1));
  name_it(&at, fd, "listening");
  fd = tcp_socket(&at);
  struct sockaddr_in any = {.sin_family = AF_INET};
  must("bind", bind(fd, (struct sockaddr*)&any, sizeof any));
  name_it(&at, fd, "bound");
  struct sockaddr_storage before;
  struct sockaddr_storage after;
  socklen_t length = sizeof before;
  must("getsockname", getsockname(fd, (struct sockaddr*)&before, &length));
  must("connect", connect(fd, sa(&at), at.length));
  name_it(&at, fd, "connected");
  must("getsockname", getsockname(fd, (struct sockaddr*)&after, &length));
  say("the port stays: %d", port_of(&before) == port_of(&after));
}

GUEST(server, client)
