// Writing where nobody reads: EPIPE and SIGPIPE, or EPIPE alone.
#include "guest.h"

static volatile sig_atomic_t signals;
static void on_signal(int number) { signals += number == SIGPIPE; }

static void write_in_child(int fd) {
  signal(SIGPIPE, SIG_DFL);
  (void)!write(fd, "x", 1);
  say("unexpected: still alive");
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  recv_end(fd);
}

static void client(struct where at) {
  signal(SIGPIPE, on_signal);
  const int fd = dial(&at);
  must("shutdown", shutdown(fd, SHUT_WR));
  result("write", write(fd, "x", 1));
  say("signals %d", signals);
  result("send MSG_NOSIGNAL", send(fd, "x", 1, MSG_NOSIGNAL));
  say("signals %d", signals);
  struct iovec part = {"x", 1};
  result("writev", writev(fd, &part, 1));
  say("signals %d", signals);
  signal(SIGPIPE, SIG_IGN);
  result("write, ignored", write(fd, "x", 1));
  reap(in_child(write_in_child, fd));
}

GUEST(server, client)
