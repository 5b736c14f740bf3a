// TCP_FASTOPEN_CONNECT: connect returns at once, the first write connects.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "first");
  send_text(fd, "reply");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  const int on = 1;
  result("TCP_FASTOPEN_CONNECT", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on));
  result("connect", connect(fd, sa(&at), at.length));
  send_text(fd, "first");
  recv_text(fd, "reply");
}

GUEST(server, client)
