// shutdown where there is no connection, and with a nonsensical argument.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  result("unconnected", shutdown(fd, SHUT_WR));
  must("connect", connect(fd, sa(&at), at.length));
  result("how = 3", shutdown(fd, 3));
  result("how = -1", shutdown(fd, -1));
  result("bad descriptor", shutdown(-1, SHUT_WR));
  result("not a socket", shutdown(STDIN_FILENO < 0 ? 0 : open("/dev/null", O_RDONLY), SHUT_WR));
}

GUEST(server, client)
