// connect does not change which socket a descriptor is: inode and cookie stay.
#include "guest.h"

static uint64_t cookie(int fd) {
  uint64_t value = 0;
  socklen_t length = sizeof value;
  must("SO_COOKIE", getsockopt(fd, SOL_SOCKET, SO_COOKIE, &value, &length));
  return value;
}

static void server(struct where at) { recv_end(serve_one(&at)); }

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  const uint64_t cookie_before = cookie(fd);
  struct stat before;
  must("fstat", fstat(fd, &before));
  must("connect", connect(fd, sa(&at), at.length));
  struct stat after;
  must("fstat", fstat(fd, &after));
  say("inode %d, cookie %d", before.st_ino == after.st_ino, cookie_before == cookie(fd));
}

GUEST(server, client)
