// sendto with MSG_FASTOPEN connects and sends in one call.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "first");
  send_text(fd, "reply");
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  result("sendto", sendto(fd, "first", 5, MSG_FASTOPEN, sa(&at), at.length));
  recv_text(fd, "reply");
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  must("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  say("peer %s", show(&at, &peer));
}

GUEST(server, client)
