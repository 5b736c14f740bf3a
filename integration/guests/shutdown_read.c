// shutdown(SHUT_RD) ends reading here, while the peer may go on sending.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  await(fd);
  result("send to a peer that does not read", send(fd, "ignored", 7, MSG_NOSIGNAL));
  recv_text(fd, "still here");
}

static void client(struct where at) {
  const int fd = dial(&at);
  result("shutdown", shutdown(fd, SHUT_RD));
  say("poll: %s", event_names((unsigned)events_now(fd, POLLIN | POLLRDHUP)));
  recv_end(fd);
  tell(fd);
  send_text(fd, "still here");
}

GUEST(server, client)
