// Sending and receiving nothing means nothing on a stream.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  wait_for(fd, POLLIN);
  char byte;
  result("recv of 0 bytes", recv(fd, &byte, 0, 0));
  recv_text(fd, "x");
  recv_end(fd);
  result("recv of 0 bytes at the end", recv(fd, &byte, 0, 0));
}

static void client(struct where at) {
  const int fd = dial(&at);
  result("send of 0 bytes", send(fd, "", 0, 0));
  result("write of 0 bytes", write(fd, "", 0));
  struct iovec none = {NULL, 0};
  result("writev of nothing", writev(fd, &none, 1));
  send_text(fd, "x");
}

GUEST(server, client)
