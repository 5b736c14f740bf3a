// accept where it cannot work.
#include "guest.h"

static void server(struct where at) {
  const int listener = bound_at(&at);
  result_fd("not listening", accept(listener, NULL, NULL));
  must("listen", listen(listener, 4));
  ready(&at, listener);
  const int fd = accept_one(listener);
  result_fd("connected", accept(fd, NULL, NULL));
  result_fd("bad descriptor", accept(-1, NULL, NULL));
  result_fd("not a socket", accept(open("/dev/null", O_RDONLY), NULL, NULL));
  const int datagram = socket(AF_INET, SOCK_DGRAM, 0);
  result_fd("datagram", accept(datagram, NULL, NULL));
  result("listen on a datagram socket", listen(datagram, 1));
  result("listen when connected", listen(fd, 1));
  result("listen on a bad descriptor", listen(-1, 1));
  set_nonblocking(listener);
  result_fd("nobody there", accept(listener, NULL, NULL));
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
}

GUEST(server, client)
