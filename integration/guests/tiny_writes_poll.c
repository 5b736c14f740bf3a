// As tiny_writes_first, without blocking: each side waits until it may write.
#include "tiny_writes.h"

static void both_ways(int fd) {
  set_nonblocking(fd);
  write_tiny(fd);
  read_tiny(fd);
}

static void server(struct where at) { both_ways(serve_one(&at)); }
static void client(struct where at) { both_ways(dial(&at)); }

GUEST(server, client)
