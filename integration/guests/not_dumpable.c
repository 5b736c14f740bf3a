// A process that cannot be dumped or traced connects and accepts like any other.
#include <sys/prctl.h>

#include "guest.h"

static void server(struct where at) {
  must("PR_SET_DUMPABLE", prctl(PR_SET_DUMPABLE, 0));
  const int listener = listen_at(&at, 4);
  struct sockaddr_storage peer;
  socklen_t length = sizeof peer;
  const int fd = (int)must("accept", accept(listener, (struct sockaddr*)&peer, &length));
  say("peer %s, length %u", show(&at, &peer), length);
  recv_text(fd, "hello");
}

static void client(struct where at) {
  must("PR_SET_DUMPABLE", prctl(PR_SET_DUMPABLE, 0));
  const int fd = tcp_socket(&at);
  result("connect", connect(fd, sa(&at), at.length));
  send_text(fd, "hello");
}

GUEST(server, client)
