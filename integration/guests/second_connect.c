// connect on a connected socket, to the same place and to another.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "still the first");
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  result("connect", connect(fd, sa(&at), at.length));
  result("connect again", connect(fd, sa(&at), at.length));
  struct where other = at;
  set_port(&other, 1);
  result("connect elsewhere", connect(fd, sa(&other), other.length));
  set_nonblocking(fd);
  result("without blocking", connect(fd, sa(&at), at.length));
  send_text(fd, "still the first");
}

GUEST(server, client)
