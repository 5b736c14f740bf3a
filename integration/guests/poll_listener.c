// A listener becomes readable with a pending connection and quiet after the accept.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  say("pending: %s", event_names((unsigned)wait_for(listener, POLLIN | POLLOUT)));
  const int fd = accept_one(listener);
  say("accepted: %s", event_names((unsigned)events_now(listener, POLLIN | POLLOUT)));
  tell(fd);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
}

GUEST(server, client)
