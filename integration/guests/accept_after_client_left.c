// A client that connects, sends and leaves before the accept is still accepted and heard.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int control = accept_one(listener);
  await(control);
  const int fd = accept_one(listener);
  recv_text(fd, "I was here");
  recv_end(fd);
  const int nobody = accept_one(listener);
  recv_end(nobody);
}

static void client(struct where at) {
  const int control = dial(&at);
  int fd = dial(&at);
  send_text(fd, "I was here");
  close(fd);
  fd = dial(&at);
  close(fd);
  tell(control);
}

GUEST(server, client)
