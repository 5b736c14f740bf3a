// A thousand requests in flight before the first answer is read.
#include "guest.h"

enum { kRequests = 1000 };

static void server(struct where at) {
  const int fd = serve_one(&at);
  uint32_t number = 0;
  uint32_t count = 0;
  while (recv_all(fd, &number, sizeof number) == sizeof number) {
    char answer[100];
    memset(answer, (int)(number & 0x7f), sizeof answer);
    send_all(fd, answer, sizeof answer);
    ++count;
  }
  say("answered %u", count);
}

static void client(struct where at) {
  const int fd = dial(&at);
  for (uint32_t i = 0; i < kRequests; ++i) send_all(fd, &i, sizeof i);
  must("shutdown", shutdown(fd, SHUT_WR));
  int right = 0;
  for (uint32_t i = 0; i < kRequests; ++i) {
    char answer[100];
    recv_all(fd, answer, sizeof answer);
    right += answer[0] == (char)(i & 0x7f) && answer[99] == answer[0];
  }
  say("right: %d", right);
  recv_end(fd);
}

GUEST(server, client)
