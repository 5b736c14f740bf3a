// accept gives the client's address, the one the client itself sees.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  struct sockaddr_storage peer;
  memset(&peer, 0x5a, sizeof peer);
  socklen_t length = sizeof peer;
  const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
  struct sockaddr_storage claimed;
  recv_all(fd, &claimed, length);
  say("length %u, %s", length, show(&at, &peer));
  say("as the client sees itself: %d", memcmp(&peer, &claimed, length) == 0);
  struct sockaddr_storage named;
  socklen_t named_length = sizeof named;
  must("getpeername", getpeername(fd, (struct sockaddr*)&named, &named_length));
  say("getpeername agrees: %d", named_length == length && memcmp(&peer, &named, length) == 0);
  must("getsockname", getsockname(fd, (struct sockaddr*)&named, &named_length));
  say("own name %s", show(&at, &named));
}

static void client(struct where at) {
  const int fd = dial(&at);
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  must("getsockname", getsockname(fd, (struct sockaddr*)&own, &length));
  say("own name %s, length %u", show(&at, &own), length);
  send_all(fd, &own, length);
  struct sockaddr_storage peer;
  length = sizeof peer;
  must("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  say("the server as dialled: %d", memcmp(&peer, &at.address, length) == 0);
}

GUEST(server, client)
