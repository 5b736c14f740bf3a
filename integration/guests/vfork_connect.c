// A child of vfork connects while its parent is suspended.
#include "guest.h"

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_text(fd, "from both");
  recv_end(fd);
}

static void client(struct where at) {
  const int fd = tcp_socket(&at);
  volatile int rc = -1;
  const pid_t pid = vfork();
  if (pid == 0) {
    rc = connect(fd, sa(&at), at.length);
    _exit(0);
  }
  reap(pid);
  say("the child's connect gave %d", rc);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  result("getpeername", getpeername(fd, (struct sockaddr*)&peer, &length));
  send_text(fd, "from both");
}

GUEST(server, client)
