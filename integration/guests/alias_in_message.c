// Another descriptor of the socket travels in a message while it is connected, and nobody receives
// it: the connection works all the same, and the server, which speaks first, gets it at once.
#include "passing.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  send_text(fd, "to the client");
  recv_text(fd, "from the client");
  recv_end(fd);
}

static void client(struct where at) {
  int channel[2];
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
  const int fd = tcp_socket(&at);
  must("sendmsg", send_with_descriptor(channel[0], fd));
  result("connect", connect(fd, sa(&at), at.length));
  recv_text(fd, "to the client");
  send_text(fd, "from the client");
  must("shutdown", shutdown(fd, SHUT_WR));
}

GUEST(server, client)
