// A connection is passed to a child over an AF_UNIX socket pair and used there.
#include "passing.h"

static void use_in_child(int channel) {
  const int fd = receive_descriptor(channel);
  send_text(fd, "from the receiver");
  recv_text(fd, "reply");
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  result("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "from the receiver");
  send_text(fd, "reply");
  recv_end(fd);
}

static void client(struct where at) {
  int channel[2];
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
  const pid_t pid = in_child(use_in_child, channel[1]);
  const int fd = dial(&at);
  must("sendmsg", send_with_descriptor(channel[0], fd));
  close(fd);
  reap(pid);
}

GUEST(server, client)
