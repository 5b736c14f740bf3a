// The server greets at once; the client reads before it ever writes.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  for (int i = 0; i < 3; ++i) {
    const int fd = accept_one(listener);
    send_text(fd, "220 ready\n");
    recv_text(fd, "QUIT\n");
    close(fd);
  }
}

static void client(struct where at) {
  for (int i = 0; i < 3; ++i) {
    const int fd = dial(&at);
    recv_text(fd, "220 ready\n");
    send_text(fd, "QUIT\n");
    recv_end(fd);
    close(fd);
  }
}

GUEST(server, client)
