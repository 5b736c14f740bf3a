// A child inherits the unconnected socket; the parent connects; the child uses the connection.
#include "guest.h"

static int start[2];

static void use_in_child(int fd) {
  char byte;
  must("read", read(start[0], &byte, 1));
  send_text(fd, "from the child");
  recv_text(fd, "to the child");
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "from the child");
  send_text(fd, "to the child");
  recv_end(fd);
}

static void client(struct where at) {
  must("pipe", pipe(start));
  const int fd = tcp_socket(&at);
  const pid_t pid = in_child(use_in_child, fd);
  result("connect", connect(fd, sa(&at), at.length));
  must("write", write(start[1], "x", 1));
  reap(pid);
}

GUEST(server, client)
