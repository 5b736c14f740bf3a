// MSG_TRUNC on a stream throws data away instead of copying it.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char bytes[8] = "------";
  wait_for(fd, POLLIN);
  result("recv MSG_TRUNC", recv(fd, bytes, 4, MSG_TRUNC));
  say("buffer %s", bytes);
  recv_text(fd, "efgh");
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "abcdefgh");
  await(fd);
}

GUEST(server, client)
