// Lengths and pointers of getsockopt and setsockopt.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void show_get(int fd, int level, int option, int room) {
  unsigned char bytes[64];
  memset(bytes, 0x5a, sizeof bytes);
  socklen_t length = (socklen_t)room;
  const int rc = getsockopt(fd, level, option, bytes, &length);
  int written = 0;
  for (int i = 0; i < 64; ++i) written += bytes[i] != 0x5a;
  say("get level %d option %d room %d: %s, length %d, written %d", level, option, room,
      rc == 0 ? "ok" : strerrorname_np(errno), (int)length, written);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int rooms[] = {0, 1, 2, 4, 8, -1};
  for (size_t i = 0; i < sizeof rooms / sizeof *rooms; ++i) {
    show_get(fd, IPPROTO_TCP, TCP_NODELAY, rooms[i]);
    show_get(fd, IPPROTO_TCP, TCP_KEEPIDLE, rooms[i]);
    show_get(fd, SOL_SOCKET, SO_DOMAIN, rooms[i]);
    show_get(fd, IPPROTO_IP, IP_TTL, rooms[i]);
  }
  int value = 1;
  result("set 3 bytes", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, 3));
  result("set 0 bytes", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, 0));
  result("set -1 bytes", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, (socklen_t)-1));
  result("set 100 bytes", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, (char[100]){1}, 100));
  result("IP set 1 byte", setsockopt(fd, IPPROTO_IP, IP_TTL, &value, 1));
  result("bad pointer", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, (void*)16, 4));
  result("bad descriptor", setsockopt(-1, IPPROTO_TCP, TCP_NODELAY, &value, 4));
  result("not a socket", setsockopt(open("/dev/null", O_RDONLY), IPPROTO_TCP, 1, &value, 4));
  result("get, bad pointer", getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, (void*)16, &(socklen_t){4}));
  result("get, bad length", getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, (socklen_t*)16));
}

GUEST(server, client)
