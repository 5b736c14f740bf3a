// TCP_CONGESTION: a name that can be read, set to itself, and not to nonsense.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  for (int i = 0; i < 2; ++i) {
    char name[16] = {0};
    socklen_t length = sizeof name;
    must("get", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    say("a name of %d bytes room: %d", (int)length, name[0] != 0);
    result("set to itself", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof name));
    result("set to reno", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    must("get", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    say("now %s", name);
    result("set to nonsense", setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonsense", 8));
    length = 2;
    must("get", getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length));
    say("with little room: length %d", (int)length);
    if (i == 0) must("connect", connect(fd, sa(&at), at.length));
  }
}

GUEST(server, client)
