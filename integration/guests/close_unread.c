// close with unread data resets the connection after what was sent.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  send_text(fd, "bye");
  wait_for(fd, POLLIN);
  close(fd);
  tell(control);
  recv_end(control);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  send_text(fd, "unread");
  await(control);
  wait_for(fd, 0);  // for ERR or HUP
  say("poll: %s", event_names((unsigned)events_now(fd, POLLIN | POLLOUT | POLLRDHUP)));
  recv_text(fd, "bye");
  recv_end(fd);
  recv_end(fd);
}

GUEST(server, client)
