// Both sides write all their messages before either reads: TCP has room for that.
#include "tiny_writes.h"

static void both_ways(int fd) {
  write_tiny(fd);
  read_tiny(fd);
  must("shutdown", shutdown(fd, SHUT_WR));
  recv_end(fd);
}

static void server(struct where at) { both_ways(serve_one(&at)); }
static void client(struct where at) { both_ways(dial(&at)); }

GUEST(server, client)
