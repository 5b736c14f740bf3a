// The plain case over IPv6.
#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
  say("length %u, %s", length, show(&at, &peer));
  recv_text(fd, "hello");
  send_text(fd, "world");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  result("connect", connect(fd, sa(&at), at.length));
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  must("getsockname", getsockname(fd, (struct sockaddr*)&name, &length));
  say("own name %s, length %u", show(&at, &name), length);
  must("getpeername", getpeername(fd, (struct sockaddr*)&name, &length));
  say("peer %s", show(&at, &name));
  send_text(fd, "hello");
  recv_text(fd, "world");
}

int main(int argc, char** argv) {
  guest_family = AF_INET6;
  return guest_main(argc, argv, server, client);
}
