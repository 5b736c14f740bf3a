// Both ends non-blocking, with poll where EAGAIN says so.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  set_nonblocking(listener);
  wait_for(listener, POLLIN);
  const int fd = result_fd("accept4", accept4(listener, NULL, NULL, SOCK_NONBLOCK));
  result_fd("accept again", accept(listener, NULL, NULL));
  recv_text(fd, "hello");
  send_text(fd, "world");
  wait_for(fd, POLLIN);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
  const int started = connect(fd, sa(&at), at.length);
  say("connect started: %s", started == 0 || errno == EINPROGRESS ? "yes" : "no");
  say("then %s", event_names((unsigned)wait_for(fd, POLLOUT)));
  int error = -1;
  socklen_t length = sizeof error;
  must("SO_ERROR", getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
  say("SO_ERROR %d", error);
  char byte;
  result("recv of nothing", recv(fd, &byte, 1, 0));
  send_text(fd, "hello");
  recv_text(fd, "world");
}

GUEST(server, client)
