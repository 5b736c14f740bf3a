// Scattered reads and gathered writes.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  char one[4] = {0};
  char two[6] = {0};
  struct iovec parts[3] = {{one, 3}, {NULL, 0}, {two, 5}};
  wait_for(fd, POLLIN);
  result("readv", readv(fd, parts, 3));
  say("\"%s\" \"%s\"", one, two);
  volatile int too_many = 1025;
  struct iovec bad[1] = {{one, (size_t)-1}};
  result("readv with a bad length", readv(fd, bad, 1));
  result("readv of too many", readv(fd, parts, too_many));
  tell(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  struct iovec parts[2] = {{"abcd", 4}, {"efgh", 4}};
  result("writev", writev(fd, parts, 2));
  await(fd);
}

GUEST(server, client)
