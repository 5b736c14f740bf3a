// Reading, writing and naming a socket that is not connected.
#include "guest.h"

static void server(struct where at) { recv_end(serve_one(&at)); }

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  char byte;
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  result("send", send(fd, "x", 1, MSG_NOSIGNAL));
  result("recv", recv(fd, &byte, 1, 0));
  result("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
  say("poll: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT | POLLRDHUP)));
  int bytes = -1;
  result("FIONREAD", ioctl(fd, FIONREAD, &bytes));
  say("bytes %d", bytes);
  must("connect", connect(fd, sa(&at), at.length));
  must("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
  say("connected to %s", show(&at, &name));
}

GUEST(server, client)
