// One side writes all its messages and then says so elsewhere; only then the other one reads.
// Once for each direction.
#include "tiny_writes.h"

static void fill(int fd, int control) {
  write_tiny(fd);
  tell(control);
}

static void drain(int fd, int control) {
  await(control);
  read_tiny(fd);
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  fill(fd, control);
  drain(fd, control);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  drain(fd, control);
  fill(fd, control);
  recv_end(fd);
}

GUEST(server, client)
