// All messages are written before the server accepts the connection: it does not until another one
// says so.
#include "tiny_writes.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int control = accept_one(listener);
  await(control);
  read_tiny(accept_one(listener));
}

static void client(struct where at) {
  const int control = dial(&at);
  const int fd = dial(&at);
  write_tiny(fd);
  tell(control);
  recv_end(fd);
}

GUEST(server, client)
