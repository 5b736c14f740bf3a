// shutdown of a listener wakes a blocked accept, ends the listening, and refuses newcomers.
#include "guest.h"

static void shut_in_child(int listener) {
  wait_for(listener, POLLIN);  // the connection below is the signal that both are in place
  const int fd = accept_one(listener);
  result("shutdown", shutdown(listener, SHUT_RD));
  tell(fd);
  recv_end(fd);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  reap(in_child(shut_in_child, listener));
  result_fd("accept", accept(listener, NULL, NULL));
  say("poll: %s", event_names((unsigned)events_now(listener, POLLIN | POLLOUT)));
  result("listen again", listen(listener, 4));
}

static void client(struct where at) {
  const int fd = dial(&at);
  await(fd);
}

GUEST(server, client)
