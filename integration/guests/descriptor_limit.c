// accept with a full descriptor table: EMFILE, and the connection is still there afterwards.
#include <sys/resource.h>

#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  wait_for(listener, POLLIN);
  struct rlimit old;
  must("getrlimit", getrlimit(RLIMIT_NOFILE, &old));
  const int next = (int)must("dup", dup(listener));
  close(next);
  const struct rlimit full = {(rlim_t)next, old.rlim_max};
  must("setrlimit", setrlimit(RLIMIT_NOFILE, &full));
  result_fd("accept", accept(listener, NULL, NULL));
  result_fd("accept again", accept(listener, NULL, NULL));
  must("setrlimit", setrlimit(RLIMIT_NOFILE, &old));
  const int fd = result_fd("accept with room", accept(listener, NULL, NULL));
  recv_text(fd, "patient");
}

static void client(struct where at) {
  const int fd = dial(&at);
  send_text(fd, "patient");
  char byte;
  say("end: %d", recv(fd, &byte, 1, 0) <= 0);
}

GUEST(server, client)
