// A socket that connects to its own port talks to itself.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  close(dial(&at));
  const int fd = tcp_socket(&at);
  struct where own = {.length = sizeof(struct sockaddr_in)};
  own.address.ss_family = AF_INET;
  inet_pton(AF_INET, "127.0.0.1", &((struct sockaddr_in*)&own.address)->sin_addr);
  must("bind", bind(fd, sa(&own), own.length));
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  set_port(&own, port_of(&name));
  result("connect", connect(fd, sa(&own), own.length));
  send_text(fd, "echo");
  recv_text(fd, "echo");
}

GUEST(server, client)
