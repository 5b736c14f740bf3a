// SO_RCVTIMEO ends a wait with EAGAIN, set before or after the connect, and reads back.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  await(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  struct timeval time = {.tv_sec = 0, .tv_usec = 40000};
  result("SO_RCVTIMEO", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
  must("connect", connect(fd, sa(&at), at.length));
  struct timeval back = {0};
  socklen_t length = sizeof back;
  must("getsockopt", getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &back, &length));
  say("reads back %ld s %ld us", (long)back.tv_sec, (long)back.tv_usec);
  char byte;
  result("recv", recv(fd, &byte, 1, 0));
  result("recv MSG_WAITALL", recv(fd, &byte, 1, MSG_WAITALL));
  time.tv_usec = 1000000;
  result("a bad time", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
  tell(fd);
}

GUEST(server, client)
