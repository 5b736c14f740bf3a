// A duplicate made before the connect is the same socket afterwards.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "through both");
  send_text(fd, "reply");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  const int copy = (int)must("dup", dup(fd));
  result("connect", connect(fd, sa(&at), at.length));
  send_text(copy, "through ");
  send_text(fd, "both");
  struct sockaddr_storage one;
  struct sockaddr_storage two;
  socklen_t length = sizeof one;
  must("getsockname", getsockname(fd, (struct sockaddr*)&one, &length));
  length = sizeof two;
  must("getsockname", getsockname(copy, (struct sockaddr*)&two, &length));
  say("the same name: %d", port_of(&one) == port_of(&two));
  result("connect of the copy", connect(copy, sa(&at), at.length));
  recv_text(copy, "reply");
}

GUEST(server, client)
