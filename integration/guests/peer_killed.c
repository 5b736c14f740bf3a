// The peer is killed with nothing unread: the reader gets what was sent, then the end.
#include "guest.h"

static void write_and_hang(int fd) {
  send_text(fd, "last words");
  pause();
}

static void server(struct where at) {
  const int listener = listen_at(&at, 16);
  const int fd = accept_one(listener);
  const int control = accept_one(listener);
  const pid_t pid = in_child(write_and_hang, fd);
  close(fd);
  await(control);
  kill(pid, SIGKILL);
  reap(pid);
}

static void client(struct where at) {
  const int fd = dial(&at);
  const int control = dial(&at);
  recv_text(fd, "last words");
  tell(control);
  recv_end(fd);
}

GUEST(server, client)
