// The client finishes sending, and still receives the answer.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "question");
  recv_end(fd);
  send_text(fd, "answer");
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "question");
  result("shutdown", shutdown(fd, SHUT_WR));
  result("send after shutdown", send(fd, "x", 1, MSG_NOSIGNAL));
  recv_text(fd, "answer");
  recv_end(fd);
}

GUEST(server, client)
