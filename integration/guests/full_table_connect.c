// connect needs no free descriptor, and works with a large number.
#include <sys/resource.h>

#include "guest.h"

static void server(struct where at) {
  const int listener = listen_at(&at, 4);
  recv_text(accept_one(listener), "full");
  recv_text(accept_one(listener), "large");
}

static void client(struct where at) {
  const int low = tcp_socket(&at);
  int large = (int)must("F_DUPFD", fcntl(low, F_DUPFD, 900));
  close(low);
  must("connect", connect(large, sa(&at), at.length));
  const int fd = tcp_socket(&at);
  struct rlimit limit;
  must("getrlimit", getrlimit(RLIMIT_NOFILE, &limit));
  limit.rlim_cur = (rlim_t)fd + 1;
  must("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
  result_fd("dup", dup(fd));
  result("connect", connect(fd, sa(&at), at.length));
  send_text(large, "full");
  send_text(fd, "large");
}

GUEST(server, client)
