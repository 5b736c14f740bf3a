// The client is killed while the server waits to write: the server's writing fails in time.
#include "guest.h"

static struct where target;

static void connect_and_hang(int control) {
  const int fd = dial(&target);
  char byte;
  recv_all(fd, &byte, 1);
  tell(control);
  pause();
}

static void server(struct where at) {
  const int fd = serve_one(&at);
  static char block[65536];
  ssize_t n;
  while ((n = send(fd, block, sizeof block, MSG_NOSIGNAL)) > 0) {
  }
  say("writing failed: %d", errno == EPIPE || errno == ECONNRESET);
}

static void client(struct where at) {
  target = at;
  int control[2];
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, control));
  const pid_t pid = in_child(connect_and_hang, control[1]);
  await(control[0]);
  kill(pid, SIGKILL);
  reap(pid);
}

GUEST(server, client)
