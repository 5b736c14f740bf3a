// SO_SNDBUF and SO_RCVBUF before the connect: doubled, bounded below, and kept.
#include "guest.h"

static void set_and_show(int fd, int option, const char* name, int value) {
  must(name, setsockopt(fd, SOL_SOCKET, option, &value, sizeof value));
  int back = 0;
  socklen_t length = sizeof back;
  must(name, getsockopt(fd, SOL_SOCKET, option, &back, &length));
  say("%s %d gives %d", name, value, back);
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  for (int i = 0; i < 2; ++i) {
    set_and_show(fd, SO_SNDBUF, "SO_SNDBUF", 20000);
    set_and_show(fd, SO_RCVBUF, "SO_RCVBUF", 30000);
    set_and_show(fd, SO_SNDBUF, "SO_SNDBUF", 1);
    set_and_show(fd, SO_RCVBUF, "SO_RCVBUF", 1);
    if (i == 0) must("connect", connect(fd, sa(&at), at.length));
  }
}

GUEST(server, client)
