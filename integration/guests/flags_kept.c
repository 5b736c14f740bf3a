// File flags and descriptor flags survive the connect, and the number stays the same.
#include "guest.h"

static void server(struct where at) { recv_end(serve_one(&at)); }

static void client(struct where at) {
  const int low = open("/dev/null", O_RDONLY);
  const int fd = (int)must("socket", socket(at.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  close(low);  // a lower number is free now and must stay so
  struct stat before;
  must("fstat", fstat(fd, &before));
  must("connect", connect(fd, sa(&at), at.length));
  struct stat after;
  must("fstat", fstat(fd, &after));
  say("FD_CLOEXEC %d, flags %o", fcntl(fd, F_GETFD), (unsigned)fcntl(fd, F_GETFL));
  say("a socket: %d, mode the same: %d", S_ISSOCK(after.st_mode), before.st_mode == after.st_mode);
  say("the lower number is still free: %d", open("/dev/null", O_RDONLY) == low);
  char link[64];
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const ssize_t n = must("readlink", readlink(path, link, sizeof link - 1));
  link[n] = '\0';
  say("link begins with socket:[ %d", strncmp(link, "socket:[", 8) == 0);
  result("lseek", lseek(fd, 0, SEEK_CUR));
}

GUEST(server, client)
