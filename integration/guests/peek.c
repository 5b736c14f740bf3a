// MSG_PEEK leaves the data; repeated and growing peeks; a peek sees across separate sends.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char bytes[8] = {0};
  await(fd);
  result("peek 2", recv(fd, bytes, 2, MSG_PEEK));
  result("peek all", recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_WAITALL));
  say("peeked %.8s", bytes);
  recv_text(fd, "abcd");
  result("peek after a read", recv(fd, bytes, sizeof bytes, MSG_PEEK));
  recv_text(fd, "efgh");
  result("peek of nothing", recv(fd, bytes, 1, MSG_PEEK | MSG_DONTWAIT));
  tell(fd);
  result("peek of the end", recv(fd, bytes, 1, MSG_PEEK));
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "!abcd");
  send_text(fd, "efgh");
  await(fd);
}

GUEST(server, client)
