// SO_OOBINLINE puts the urgent byte into the stream.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  const int on = 1;
  result("SO_OOBINLINE", setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
  tell(fd);
  char bytes[8] = {0};
  recv_all(fd, bytes, 3);
  say("in line: %s", bytes);
  char byte;
  result("MSG_OOB", recv(fd, &byte, 1, MSG_OOB));
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
  send_text(fd, "a");
  result("send MSG_OOB", send(fd, "U", 1, MSG_OOB));
  send_text(fd, "b");
  await(fd);
}

GUEST(server, client)
