// What a non-blocking connect returns at once, and what the second call says when it is through.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0));
  result("connect", connect(fd, sa(&at), at.length));
  wait_for(fd, POLLOUT);
  long again = connect(fd, sa(&at), at.length);  // Linux: 0 once, to report the success
  result("connect again", again);
  result("and again", connect(fd, sa(&at), at.length));
  say("O_NONBLOCK still set: %d", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
}

GUEST(server, client)
