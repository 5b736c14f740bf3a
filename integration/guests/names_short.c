// getsockname and getpeername into buffers of every kind.
#include "guest.h"

static void with_length(int fd, int length_in) {
  unsigned char bytes[64];
  memset(bytes, 0x5a, sizeof bytes);
  socklen_t length = (socklen_t)length_in;
  const int own = getsockname(fd, (struct sockaddr*)bytes, &length);
  int written = 0;
  for (int i = 0; i < 64; ++i) written += i >= length_in && bytes[i] != 0x5a;
  say("room %d: %s, length %u, written beyond %d", length_in,
      own == 0 ? "ok" : strerrorname_np(errno), length, written);
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int lengths[] = {0, 1, 2, 7, 16, 17, 64, -1};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i) with_length(fd, lengths[i]);
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  result("bad pointer", getsockname(fd, (struct sockaddr*)16, &length));
  result("bad length pointer", getpeername(fd, (struct sockaddr*)&name, (socklen_t*)16));
  result("bad descriptor", getpeername(-1, (struct sockaddr*)&name, &length));
  length = (socklen_t)-5;
  result("negative length", getpeername(fd, (struct sockaddr*)&name, &length));
  length = 3;
  result("3 bytes", getpeername(fd, (struct sockaddr*)&name, &length));
  say("true length %u", length);
}

GUEST(server, client)
