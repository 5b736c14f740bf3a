// SO_SNDTIMEO ends a send that is blocked by a peer who does not read; nothing of it is lost.
#include "guest.h"

static char block[65536];

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  uint64_t sent = 0;
  recv_all(control, &sent, sizeof sent);
  uint64_t received = 0;
  for (ssize_t n; (n = must("recv", recv(fd, block, sizeof block, 0))) > 0;)
    received += (uint64_t)n;
  say("everything sent was received: %d", sent == received);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  const struct timeval time = {.tv_sec = 0, .tv_usec = 50000};
  must("SO_SNDTIMEO", setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time));
  uint64_t sent = 0;
  ssize_t n;
  while ((n = send(fd, block, sizeof block, 0)) > 0) sent += (uint64_t)n;
  result("send at last", n);
  must("shutdown", shutdown(fd, SHUT_WR));
  send_all(control, &sent, sizeof sent);
  recv_end(fd);
}

GUEST(server, client)
