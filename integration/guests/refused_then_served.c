// A client that retries until the server comes up.
#include "guest.h"

static void server(struct where at) {
  struct where late = at;
  set_port(&late, 0);
  const int socket_of_late = bound_at(&late);
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(socket_of_late, (struct sockaddr*)&own, &length));
  const uint16_t port = port_of(&own);
  const int control = serve_one(&at);
  send_all(control, &port, sizeof port);
  await(control);
  must("listen", listen(socket_of_late, 4));
  send_text(accept_one(socket_of_late), "here now");
}

static void client(struct where at) {
  const int control = dial(&at);
  uint16_t port = 0;
  recv_all(control, &port, sizeof port);
  struct where late = at;
  set_port(&late, port);
  for (int i = 0; i < 3; ++i) {
    const int fd = tcp_socket(&late);
    result("connect", connect(fd, sa(&late), late.length));
    close(fd);
  }
  tell(control);
  int fd = -1;
  do {
    close(fd);
    fd = tcp_socket(&late);
  } while (connect(fd, sa(&late), late.length) != 0 && errno == ECONNREFUSED);
  recv_text(fd, "here now");
}

GUEST(server, client)
