// The plain case: blocking connect, send, receive, close.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "hello");
  send_text(fd, "world");
  recv_end(fd);
  close(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  result("connect", connect(fd, sa(&at), at.length));
  send_text(fd, "hello");
  recv_text(fd, "world");
  result("close", close(fd));
}

GUEST(server, client)
